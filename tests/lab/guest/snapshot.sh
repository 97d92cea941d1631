# shellcheck shell=bash
# snapshot FILE: the whole node as text, each line as `section | what`. Shares no code with nettune.
#
# Left out, because it changes by itself (a filter may never hide what nettune sets):
#   sysctl     kernel.random.* (new at each reading), fs.{dentry-state,inode-nr,inode-state,file-nr,aio-nr,quota.*},
#              kernel.{ns_last_pid,pty.nr}, net.netfilter.nf_conntrack_count, vm.stat_refresh (counters or triggers),
#              kernel.sched_domain.*.max_newidle_lb_cost (measured by the scheduler, 5.10),
#              net.ipv4.tcp_available_congestion_control (names loaded modules, which stay loaded),
#              net.ipv6.conf.*.stable_secret, net.ipv4.tcp_fastopen_key, net.core.netdev_rss_key (random keys)
#              fs.fanotify.max_user_marks, user.max_fanotify_marks (from the memory that a boot finds free)
#   addr,route valid_life_time, preferred_life_time, expires (run down)
#   link,addr  link_failure_count of a bond's member (counts each reset of it), the numbers of its aggregators
#              (which of the two a member joins first is a matter of time)
#   nft        packet and byte counters
#   irq        smp_affinity_list of single IRQs while irqbalance runs: it moves them when it likes. Stopped, they count
#   bpf        program and link ids; systemd's own cgroup programs (sd_*, and cgroup ones without a name), which
#              come and go with its services
#   files      times; TuneD writes its files again with the same content
#
# A process costs some 50 ms under emulation, so each part asks for as much as it can at once, and the parts run side by
# side. A line that starts with
# byte 1 names the section of those after it.

section() { printf '\001%s\n' "$1"; }

# The values of many small files by one process: `path:value`. A file nobody can read is left out.
values() { grep -s -H '' -- "$@"; }

snapshot_sysctl() {
    section sysctl
    sysctl -a 2>/dev/null | grep -v -E \
        -e '^kernel\.(random\.|ns_last_pid |pty\.nr )' \
        -e '^fs\.(dentry-state|inode-nr|inode-state|file-nr|aio-nr|quota\..*) ' \
        -e '^net\.netfilter\.nf_conntrack_count ' \
        -e '^vm\.stat_refresh ' \
        -e '^(fs\.fanotify\.max_user_marks|user\.max_fanotify_marks) ' \
        -e '^kernel\.sched_domain\..*\.max_newidle_lb_cost ' \
        -e '^net\.ipv4\.(tcp_available_congestion_control|tcp_fastopen_key) ' \
        -e '^net\.core\.netdev_rss_key ' \
        -e '^net\.ipv6\.conf\..*\.stable_secret ' | LC_ALL=C sort
}

snapshot_ip() {
    local path link bond_noise='"(link_failure_count|ad_aggregator_id|aggregator)"'
    section link
    ip -d -j -p link show | grep -v -E "$bond_noise"
    section addr
    ip -d -j -p addr show | grep -v -E -e '"(valid|preferred)_life_time"' -e "$bond_noise"
    section route # each on one line, for those of one prefix are in the order in which a boot brought their links up
    { ip -4 -o -d route show table all; ip -6 -o -d route show table all; } | sed -E 's/ expires [0-9]+sec//' | LC_ALL=C sort
    section rule
    ip -d -j -p rule show
    section rule6
    ip -6 -d -j -p rule show
    section qdisc
    tc -j -p qdisc show
    section filter
    for path in /sys/class/net/*/; do
        link=${path%/}
        link=${link##*/}
        printf 'filter show dev %s %s\n' "$link" ingress "$link" egress "$link" root
    done | tc -j -p -force -b - 2>/dev/null | grep -v -x '\[ \]'
}

snapshot_links() {
    local path link option
    for path in /sys/class/net/*/; do
        link=${path%/}
        link=${link##*/}
        for option in -k -l -g -c -x; do
            [[ -e $path/device || $option == -k ]] || continue
            section "ethtool $option $link"
            ethtool $option "$link" 2>&1
        done
    done
    section netdev
    values /sys/class/net/*/{mtu,tx_queue_len,gro_flush_timeout,napi_defer_hard_irqs,threaded,flags} \
        /sys/class/net/*/queues/*/{rps_cpus,rps_flow_cnt,xps_cpus,xps_rxqs,tx_maxrate} \
        /sys/class/net/*/queues/*/byte_queue_limits/limit_{min,max}
}

snapshot_cpu() {
    section cpu
    values /sys/devices/system/cpu/cpu*/cpufreq/scaling_{governor,min_freq,max_freq,driver} \
        /sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference \
        /sys/devices/system/cpu/cpufreq/{boost,ondemand/*,schedutil/*} \
        /sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us \
        /sys/devices/system/cpu/cpu*/cpuidle/state*/disable \
        /sys/devices/system/cpu/{online,smt/control,intel_pstate/no_turbo} \
        /sys/kernel/debug/sched/preempt /sys/kernel/mm/transparent_hugepage/{enabled,defrag} \
        /sys/devices/virtual/workqueue/cpumask
}

snapshot_irq() {
    section irq
    values /proc/irq/default_smp_affinity
    if systemctl -q is-active irqbalance; then
        echo "placed by irqbalance"
    else
        values /proc/irq/*/smp_affinity_list
    fi
}

snapshot_rules() {
    section nft
    nft list ruleset 2>&1 | sed -E 's/packets [0-9]+ bytes [0-9]+/packets N bytes N/'
    section iptables # the tables that exist; asking iptables itself would make them
    values /proc/net/ip_tables_names /proc/net/ip6_tables_names
}

snapshot_bpf() {
    section bpf
    bpftool prog show 2>/dev/null | sed -n -E 's/^[0-9]+: ([a-z_]+)( +name ([^ ]+))?.*/\1 \3/p' |
        grep -v -E '^cgroup_[a-z_]+ (sd_.*)?$' | LC_ALL=C sort
    bpftool link show 2>/dev/null | sed -E 's/^[0-9]+: //; s/ prog [0-9]+//'
    bpftool -j net show 2>/dev/null | sed -E 's/"id":[0-9]+//g'
    find /sys/fs/bpf -mindepth 1 2>/dev/null | LC_ALL=C sort
}

snapshot_services() {
    section service
    systemctl show --property=Id,LoadState,ActiveState,UnitFileState irqbalance tuned
    section failed
    systemctl list-units --failed --no-legend --plain
    section tuned # what `tuned-adm active` asks the daemon, without two seconds of Python
    tuned_profile
    values /etc/tuned/{active_profile,profile_mode,post_loaded_profile}
}

snapshot_files() {
    local dirs=(/etc/sysctl.d /etc/sysctl.conf /etc/systemd /etc/udev /etc/modules-load.d /etc/modprobe.d /etc/tuned
        /etc/default /etc/nftables.conf /etc/nettune /run/systemd/system /run/sysctl.d /run/udev/rules.d
        /run/systemd/network)
    section files
    find "${dirs[@]}" -printf '%M %u %p -> %l\n' 2>/dev/null | LC_ALL=C sort
    find "${dirs[@]}" -type f -exec sha256sum {} + 2>/dev/null | LC_ALL=C sort -k 2
}

snapshot() {
    local part pids=()
    local parts=(sysctl ip links cpu irq rules bpf services files)
    for part in "${parts[@]}"; do
        "snapshot_$part" >"$1.$part" &
        pids+=($!)
    done
    wait "${pids[@]}"
    {
        section boot # for `same`
        cat /proc/sys/kernel/random/boot_id
        cat "${parts[@]/#/$1.}"
    } | awk '/^\001/ { section = substr($0, 2); next } { print section " | " $0 }' >"$1"
    rm "${parts[@]/#/$1.}"
    [[ $(wc -l <"$1") -gt 500 ]] || fail "the snapshot $1 is too short to be true"
}
