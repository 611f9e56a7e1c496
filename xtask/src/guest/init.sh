#!/bin/bash
# The root process of a test machine: runs the command of `cargo xtask vm`, tells its exit code,
# and switches the machine off. Bash reaps what is reparented to it.
#
# With `interlock.init=systemd` on the kernel's command line it hands over to systemd, which runs
# it once more as a service, whenever the machine boots.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=${TERM:-dumb}
cd /root

here=/usr/local/lib/interlock-vm
if [ $$ = 1 ] && grep -q interlock.init=systemd /proc/cmdline; then
    units=/run/systemd/system
    mkdir -p $units/multi-user.target.wants
    printf '[Service]\nExecStart=%s/init\n' $here >$units/interlock-vm.service
    ln -s ../interlock-vm.service $units/multi-user.target.wants
    # Nobody is there to answer questions or to log in.
    for unit in systemd-firstboot.service serial-getty@ttyS0.service getty.target; do
        ln -s /dev/null $units/$unit
    done
    exec /lib/systemd/systemd --unit=multi-user.target
fi

if [ $$ = 1 ]; then
    mkdir -p /dev/pts /dev/shm /run/lock
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o nosuid,nodev shm /dev/shm
    ln -sfn /proc/self/fd /dev/fd
    ln -sfn /proc/self/fd/0 /dev/stdin
    ln -sfn /proc/self/fd/1 /dev/stdout
    ln -sfn /proc/self/fd/2 /dev/stderr
    echo vm >/proc/sys/kernel/hostname
    ip link set lo up
fi

for entry in /sys/class/virtio-ports/*; do
    [ -e "$entry/name" ] && read -r name <"$entry/name" && [ -n "$name" ] &&
        declare "port_$name=/dev/${entry##*/}"
done

mark() { echo "interlock-vm: $1" >/dev/kmsg; }

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
