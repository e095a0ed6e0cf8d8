"""gpurun: remediation playbooks for the GPU nodes of Kubernetes clusters."""
