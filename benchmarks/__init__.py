"""gpurun beside ansible-core and pyinfra on the same lab nodes: `./dev bench`."""
