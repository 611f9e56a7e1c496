#!/bin/busybox sh
# The first program of a test machine: reaches the disks, mounts what programs expect to find
# mounted, and hands over to the root file system.
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
while read -r module; do
    $busybox insmod "/modules/$module" || echo "interlock-vm: cannot load $module" >/dev/kmsg
done </modules/order

tries=0
until [ -b /dev/vdc ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 200 ] && echo "interlock-vm: no disks" >/dev/kmsg && exit 1
    $busybox usleep 20000
done
$busybox mount -t ext4 -o noatime /dev/vda /root || exit 1
$busybox mount -t ext4 -o ro,noatime /dev/vdb /root/lib/modules || exit 1
$busybox mount -t ext4 -o noatime /dev/vdc /root/usr/local || exit 1
[ -b /dev/vdd ] && { $busybox mount -t ext4 -o noatime /dev/vdd /root/with || exit 1; }

$busybox umount /proc
$busybox mount -t proc -o nosuid,nodev,noexec proc /root/proc
$busybox mount -t sysfs -o nosuid,nodev,noexec sysfs /root/sys
$busybox mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /root/sys/fs/cgroup
$busybox mount -t bpf bpffs /root/sys/fs/bpf
$busybox mount -t securityfs securityfs /root/sys/kernel/security
$busybox mount -t debugfs debugfs /root/sys/kernel/debug
$busybox mount -t tracefs tracefs /root/sys/kernel/tracing
$busybox mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /root/tmp
$busybox mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /root/run
$busybox mount --move /dev /root/dev
exec $busybox switch_root /root /usr/local/lib/interlock-vm/init
