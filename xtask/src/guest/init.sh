#!/bin/bash
# The root process of a test machine: runs the command of `cargo xtask vm`, tells its exit code,
# and switches the machine off. Bash reaps what is reparented to it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=${TERM:-dumb}
cd /root

mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
echo vm >/proc/sys/kernel/hostname
ip link set lo up

for entry in /sys/class/virtio-ports/*; do
    [ -e "$entry/name" ] && read -r name <"$entry/name" && [ -n "$name" ] &&
        declare "port_$name=/dev/${entry##*/}"
done

mark() { echo "interlock-vm: $1" >/dev/kmsg; }

here=/usr/local/lib/interlock-vm
if [ -e $here/command ]; then
    exec 3>"$port_out" 4>"$port_err"
    mark "command starts"
    # A session of its own: what the command does to its process group does not reach init.
    setsid --wait $here/command </dev/null >&3 2>&4 3>&- 4>&-
    code=$?
else
    mark "shell starts"
    setsid --ctty --wait $here/shell </dev/hvc0 >/dev/hvc0 2>&1
    code=$?
fi
mark "command ends with $code"
echo "$code" >"$port_code"
sync
# The last thing the console shows, and the last thing done.
echo o >/proc/sysrq-trigger
sleep 60
