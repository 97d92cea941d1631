# Vectors, queues and CPUs of a machine with two NUMA nodes, through --host: its files are a tree built from
# the kernel's documents, not captured, and only its links are the kernel's.
. "$(dirname "$0")/lib.sh"
uplink
ip link del up0
ip link add up0 numtxqueues 8 numrxqueues 8 type veth peer name w0 numtxqueues 8 numrxqueues 8
ip link set up0 up; ip link set w0 up
ethtool -L up0 rx 8 tx 8 2> /dev/null || skip "this kernel's veth has no channels"
ip addr add 10.77.0.2/24 dev up0
ip route replace default via 10.77.0.1
host=$work/host
put() { mkdir -p "$host/$(dirname "$1")"; printf '%s\n' "$2" > "$host/$1"; }
cpu=sys/devices/system/cpu
put proc/sys/kernel/osrelease 6.12.40
put proc/sys/kernel/random/boot_id 00000000-0000-4000-8000-000000000001
put $cpu/online 0-15
put $cpu/possible 0-15
put $cpu/isolated 6,14
put $cpu/nohz_full '(null)'
put sys/devices/system/node/node0/cpulist 0-3,8-11
put sys/devices/system/node/node1/cpulist 4-7,12-15
put var/lib/kubelet/cpu_manager_state '{"policyName":"static","entries":{"pod":{"c":"7,15"}}}'
for n in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    put $cpu/cpu$n/topology/thread_siblings_list "$((n % 8)),$((n % 8 + 8))"
    for file in affected_cpus=$n scaling_driver=acpi-cpufreq scaling_governor=schedutil \
        "scaling_available_governors=performance schedutil"; do
        put $cpu/cpufreq/policy$n/"${file%%=*}" "${file#*=}"
    done
done
device=sys/devices/pci0000:80/0000:81:00.0
put $device/numa_node 1
mkdir -p "$host/sys/bus/pci/drivers/ice" "$host/$device/net" "$host/sys/class/net"
ln -s ../../../bus/pci/drivers/ice "$host/$device/driver"
put $device/net/up0/ifindex "$(cat /sys/class/net/up0/ifindex)"
ln -s ../../../0000:81:00.0 "$host/$device/net/up0/device"
ln -s ../../devices/pci0000:80/0000:81:00.0/net/up0 "$host/sys/class/net/up0"
put proc/sys/net/core/default_qdisc fq_codel
put proc/irq/default_smp_affinity ffff
vector() {
    put $device/msi_irqs/"$1" msix
    put proc/irq/"$1"/smp_affinity_list 0-15
    put sys/kernel/irq/"$1"/actions "$2"
}
vector 40 ice-0000:81:00.0:misc
for n in 0 1 2 3 4 5 6 7; do
    vector $((41 + n)) ice-up0-TxRx-$n
    put $device/net/up0/queues/tx-$n/xps_cpus 0000
done
tree() { (cd "$host" && find . -type f -exec grep -H . {} + | sort); }

tree > "$work/tree"
set -- -p cilium-max --only irq,steering,cpu
expect 0 nettune --host "$host" check "$@"
says "ice"
tree > "$work/looked"
same "$work/tree" "$work/looked"
expect 0 nettune --host "$host" apply "$@"
# Node 1 first, its cores before their siblings; 6 is isolated and 7 a pod's.
cpus=$(for n in 41 42 43 44 45 46 47 48; do cat "$host/proc/irq/$n/smp_affinity_list"; echo; done | xargs)
[ "$cpus" = "4 5 12 13 0 1 2 3" ] || fail "vectors on $cpus"
[ "$(cat "$host/proc/irq/40/smp_affinity_list")" = 0-15 ] || fail "the management vector moved"
[ "$(cat "$host/proc/irq/default_smp_affinity")" = 3f3f ] || fail "default $(cat "$host/proc/irq/default_smp_affinity")"
masks=$(for n in 0 1 2 3 4 5 6 7; do cat "$host/$device/net/up0/queues/tx-$n/xps_cpus"; echo; done | xargs)
[ "$masks" = "0010 0020 1000 2000 0001 0002 0004 0008" ] || fail "XPS $masks"
grep -qx performance "$host/$cpu/cpufreq/policy15/scaling_governor" || fail "governor"
expect 0 nettune --host "$host" verify
expect 0 nettune --host "$host" apply "$@"
expect 0 nettune --host "$host" rollback
tree > "$work/after"
same "$work/tree" "$work/after"
# A selector finds the link by where its device is.
printf 'links = ["pci:0000:81:00.0"]\n[irq]\n' > "$work/p.toml"
expect 0 nettune --host "$host" plan -p "$work/p.toml"
says "up0"
