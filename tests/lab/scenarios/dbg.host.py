# timeout: 3000
from common import LabError
PERSIST = "nettune apply -p cilium-max --accept link-reset,path,bypass --persist"
UNIT = """[Unit]
DefaultDependencies=no
[Service]
StandardOutput=journal
ExecStart=/bin/bash -c 'for i in {1..45}; do for p in $(pidof nettune); do echo "$p $(cut -d. -f1 /proc/uptime) $(tr "\\\\\\\\0" " " < /proc/$p/cmdline) sys $(cat /proc/$p/syscall) $(cat /proc/$p/wchan)"; for t in /proc/$p/task/*; do cat $t/stack | head -6; done; done; sleep 1; done'
[Install]
WantedBy=sysinit.target
"""
def run(lab):
    lab.want("sync"); lab.powercut(); lab.boot()
    lab.want("cat > /etc/systemd/system/dbg.service <<'X'\n" + UNIT + "X\nsystemctl enable dbg; sync")
    import time
    b = time.monotonic(); lab.want(PERSIST); took = time.monotonic() - b
    lab.note(f"takes {took}")
    lab.want("nettune rollback")
    for moment in (took * 0.6, took - 1.0, took - 0.3, took + 0.5, took+3):
        lab.start(PERSIST); lab.wait(moment); lab.powercut()
        began = time.monotonic()
        try:
            lab.boot()
        except LabError as e:
            lab.note(str(e))
        lab.note(f"{moment}: boot {time.monotonic()-began}")
        for c in ("systemd-analyze; journalctl -b -o short-monotonic -u nettune-early -u nettune -u dbg -u dbus -u tuned -u systemd-udev-settle --no-pager | tail -150; tail -c 1500 /var/lib/nettune/journal.jsonl",):
            _, o, e = lab.guest(c)
            lab.note(o + e)
        lab.guest("systemctl reset-failed"); lab.want("nettune rollback")
