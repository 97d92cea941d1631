# shellcheck shell=bash
# Sourced by the scenario wide: what the kernel's own files say of a NIC's vectors and of the CPUs.

# vectors LINK: "IRQ NAME CPUS" of each vector of its PCI function.
vectors() {
    local irq
    for irq in $(ls "/sys/class/net/$1/device/../msi_irqs" | sort -n); do
        [[ -e /proc/irq/$irq ]] && echo "$irq $(<"/sys/kernel/irq/$irq/actions") $(<"/proc/irq/$irq/smp_affinity_list")"
    done
}

# placed LINK: each queue in use has a CPU of the second socket that is kept for nobody, first threads first, then the other
# socket's; both its vectors are there.
placed() {
    vectors "$1" >/run/lab-vectors
    python3 - "$1" <<'PY' || fail "the vectors are not where they belong"
import re, subprocess, sys
said = subprocess.run(["ethtool", "-l", sys.argv[1]], capture_output=True, text=True).stdout
used = int(re.findall(r"Combined:\s*(\d+)", said)[1])
near, far = range(16, 28), range(0, 16)
first = lambda cpus: [c for c in cpus if c % 2 == 0] + [c for c in cpus if c % 2]
order = first(near) + first(far)
wrong = queues = 0
for line in open("/run/lab-vectors"):
    irq, name, cpus = line.split()
    queue = re.search(r"-(?:input|output)\.(\d+)$", name)
    if queue and int(queue[1]) < used:
        queues += 1
        if cpus != str(order[int(queue[1]) % len(order)]):
            wrong += 1
            print(line.strip())
print(f"{queues} vectors of {used} queues, {wrong} wrong")
sys.exit(wrong or queues != 2 * used)
PY
}

# capture: the files that facts of CPUs and vectors are read from, a line each: "PATH = VALUE" or "PATH -> TARGET".
capture() {
    local file link device function irq
    cd / || return
    for file in sys/devices/system/cpu/{online,possible,present,isolated,nohz_full} \
        sys/devices/system/cpu/cpu*/topology/thread_siblings_list sys/devices/system/node/{possible,node*/cpulist}; do
        [[ -r $file ]] && echo "$file = $(tr -d '\0' <"$file")"
    done
    for link in sys/class/net/*; do
        [[ -e $link/device ]] || continue
        echo "$link -> $(readlink "$link")"
        device=$(readlink -f "$link") device=${device#/}
        echo "$device/ifindex = $(<"$device/ifindex")"
        echo "$device/device -> $(readlink "$device/device")"
        device=$(readlink -f "$device/device") device=${device#/}
        echo "$device/driver -> $(readlink "$device/driver")"
        function=$device
        [[ -d $function/msi_irqs ]] || function=${device%/*}
        for file in "$device"/features "$function"/numa_node "$function"/sriov_numvfs; do
            [[ -r $file ]] && echo "$file = $(<"$file")"
        done
        [[ -d $function/msi_irqs ]] || continue
        for irq in $(ls "$function/msi_irqs" | sort -n); do
            echo "$function/msi_irqs/$irq = $(<"$function/msi_irqs/$irq")"
            [[ -e proc/irq/$irq ]] || continue
            echo "sys/kernel/irq/$irq/actions = $(<"sys/kernel/irq/$irq/actions")"
            echo "proc/irq/$irq/smp_affinity_list = $(<"proc/irq/$irq/smp_affinity_list")"
        done
    done | awk '!seen[$0]++'
}
