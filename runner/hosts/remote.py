"""What every remote shell is told first: POSIX sh with coreutils, nothing else.

Speed: a brief step costs one process, its shell. Any other costs four (its shell, `timeout` and
one `tee` per stream). All else is done by builtins, and what was printed goes out by one `cat`.
`tee` below `ulimit -f` keeps the first part of a stream, drops the rest and goes on draining, and
it outlives a step whose daemon kept the pipe, so that the daemon never meets a closed one.
"""

PRELUDE = r"""
unset ENV BASH_ENV CDPATH
word=@WORD@
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}
LC_ALL=C
if [ -e /usr/lib/locale/C.utf8 ] || [ -e /usr/lib/locale/C.UTF-8 ]; then LC_ALL=C.UTF-8
else case $(locale -a 2>&1) in *C.[uU][tT][fF]*8*) LC_ALL=C.UTF-8 ;; esac; fi
export PATH LC_ALL
umask 022
cd /
folder= watcher= why=
lost() { # Ends the shell, with the reason.
  printf '\n%s lost %s\n' "$word" "${*:-no space or no right to write in $folder}"
  exit 1
}
case $(command -v printf) in
  /* | '') lost "its /bin/sh has no built-in printf" ;;
esac
for tool in base64 cat mkfifo mktemp rm sleep tee timeout; do
  command -v "$tool" >/dev/null || lost "it has no command '$tool' (GNU coreutils)"
done
trap '[ -z "$watcher" ] || kill "$watcher"; [ -z "$folder" ] || rm -rf "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
trap : USR1
for place in /run /dev/shm /tmp /var/tmp; do
  if folder=$(mktemp -d "$place/gpurun.XXXXXXXXXX" 2>&1); then
    printf 'room to write\n' 2>/dev/null >"$folder/late" && break
    rm -rf "$folder"
    folder="$place is full"
  fi
  why="${why:+$why; }$folder"
  folder=
done
[ "$folder" ] || lost "no folder for temporary files: $why"
exec 2>/dev/null
start() { # Numbers of the steps that are not brief: makes a pipe for both streams of each.
  late=$folder/late
  : >"$late" || lost
  printf '\n%s out\n' "$word" >"$folder/out" || lost
  printf '\n%s err\n' "$word" >"$folder/err" || lost
  pipes= told= waiting=0
  for n in "$@"; do pipes="$pipes $folder/$n.p $folder/$n.q"; done
  [ -z "$pipes" ] || mkfifo $pipes || lost
  (exec </dev/null >/dev/null && watch) &
  watcher=$!
}
watch() { # Ends brief steps that take too long, and the wait for the output of ended steps.
  before=
  while sleep 1 && kill -0 $$ && [ -d "$folder" ]; do
    now= limit= process=
    read -r now limit process <"$late"
    if [ "$process" ]; then
      overdue
    elif [ "$now" ] && [ "$now" = "$before" ]; then
      : >"$folder/$now.g"
      kill -s USR1 $$
    fi
    before=$now
  done
}
overdue() { # TERM once the brief step is over its limit (seconds of uptime), KILL 5 s later.
  read -r up _ </proc/uptime
  up=${up%%.*}
  [ "$up" -ge "$limit" ] || return 0
  if [ "$up" -ge "$((limit + 5))" ]; then
    kill -s KILL $(family "$process")
  elif [ ! -e "$folder/$now.t" ]; then
    : >"$folder/$now.t"
    kill -s TERM $(family "$process")
  fi
}
family() { # Process: prints it and all that descend from it, as /proc/*/stat tells.
  found=" $1 " more=1
  while [ "$more" ]; do
    more=
    for stat in /proc/[0-9]*/stat; do
      line=
      read -r line <"$stat" || continue
      child=${line%% *} parent=${line##*) ? } parent=${parent%% *}
      case $found in
        *" $child "*) ;;
        *" $parent "*) found="$found$child " more=1 ;;
      esac
    done
  done
  printf %s "$found"
}
keep() { # Pipe, file: keeps the first 8 MiB (16 where ulimit counts in KiB), drops the rest.
  ulimit -S -f 16384
  trap '' XFSZ
  exec tee "$2" <"$1" >/dev/null
}
settle() { # Process, step: waits until all output is there. A daemon may hold the pipe for ever.
  kept=129
  while [ "$kept" -gt 128 ] && [ ! -e "$folder/$2.g" ]; do
    wait "$1"
    kept=$?
  done
  [ "$kept" -ne 1 ] || over=1
}
run() { # Step, seconds, file for its standard input. Returns the step's exit code.
  step=$folder/$1
  over=0 began=0 ended=0 _=
  keep "$step.p" "$step.o" &
  out=$!
  keep "$step.q" "$step.e" &
  err=$!
  read -r began _ </proc/uptime
  timeout -k 5 "$2" sh "$step.s" <"$3" >"$step.p" 2>"$step.q"
  rc=$?
  read -r ended _ </proc/uptime
  printf '%s\n' "$1" >"$late"
  settle "$out" "$1"
  settle "$err" "$1"
  : >"$late"
  tell "$1" "$2"
  flush
  return "$rc"
}
brief() { # As run, for a step that prints little and writes no large file.
  step=$folder/$1
  over=0 began=0 ended=0 _=
  read -r began _ </proc/uptime
  (
    read -r process _ </proc/self/stat
    printf '%s\n' "$1 $((${began%%.*} + ${2%%.*} + 2)) $process" >"$late"
    ulimit -S -f 16384
    trap '' XFSZ
    exec sh "$step.s"
  ) <"$3" >"$step.o" 2>"$step.e"
  rc=$?
  read -r ended _ </proc/uptime
  : >"$late"
  [ ! -e "$step.t" ] || rc=124
  tell "$1" "$2"
  return "$rc"
}
tell() { # Step, seconds: its frame goes out with the next flush.
  printf '\n%s step %s\n' "$word" "$1 $rc $began $ended $over $2" >"$step.h"
  told="$told $step.h"
  [ ! -s "$step.o" ] || told="$told $step.o"
  told="$told $folder/out"
  [ ! -s "$step.e" ] || told="$told $step.e"
  told="$told $folder/err"
  waiting=$((waiting + 1))
  [ "$waiting" -lt 10 ] || flush
}
flush() {
  alive
  [ -z "$told" ] || cat $told
  for file in $told; do
    case $file in *.[oe]) : >"$file" ;; esac
  done
  told= waiting=0
}
alive() { # When the connection is gone, writing ends this shell; that of a `cat` would not.
  printf '\n%s on\n' "$word"
}
nothing() { # Step, seconds: a step that does nothing costs no process.
  printf '\n%s step %s\n' "$word" "$1 0 0 0 0 $2"
  printf '\n%s out\n\n%s err\n' "$word" "$word"
}
finish() { # Ends the batch, leaves the shell ready for the next.
  flush
  kill "$watcher"
  watcher=
  rm -f "$folder"/*
  printf '\n%s end\n' "$word"
}
printf '\n%s ready\n' "$word"
"""
