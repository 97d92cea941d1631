# timeout: 5400
"""The power goes at random moments of apply and of rollback, with and without --persist. After the reboot nothing of the
run time is left but what the boot units brought back, status is true, rollback cleans up and the node is like one
freshly booted."""

import os
import time

# A cut costs a boot, half a minute. The full matrix asks for more: LAB_CUTS=30.
CUTS = int(os.environ.get("LAB_CUTS", "4"))
# TuneD keeps its profile in a file and sets it again at boot: it is cut off with --persist, where much lives on, and
# compared after the rollback; without it nothing at all may be left.
APPLY = "nettune apply -p cilium-max --accept link-reset,path,bypass --skip tuned"
PERSIST = "nettune apply -p cilium-max --accept link-reset,path,bypass --persist"


def run(lab):
    # The measure is a cold boot: a boot after a cut is compared with it.
    lab.want("quick_irqbalance; sync")
    lab.powercut()
    lab.boot()
    fresh(lab, "/var/tmp/lab-fresh")

    took = {command: whole(lab, command) for command in (APPLY, PERSIST)}

    for cut in range(CUTS):
        in_rollback, persist = cut % 2 == 1, cut % 4 >= 2
        command = PERSIST if persist else APPLY
        if in_rollback:
            lab.want(command)
        moment = lab.random.uniform(0, took[command][in_rollback])
        what = f"cut {cut + 1} of {CUTS}, {moment:.2f} s into {'rollback' if in_rollback else command}"
        lab.note(what)
        lab.start("nettune rollback" if in_rollback else command)
        lab.wait(moment)
        lab.powercut()
        lab.boot()
        lab.count("cuts")
        after_boot(lab, what, persist)


def whole(lab, command):
    """How long it takes, and its rollback, with nobody's cut."""
    times = []
    for each in (command, "nettune rollback"):
        began = time.monotonic()
        lab.want(each)
        times.append(time.monotonic() - began)
    lab.note(f"{command} takes {times[0]:.2f} s, its rollback {times[1]:.2f} s")
    return times


def fresh(lab, path):
    lab.want(f"settle; snapshot {path} && sync {path}")


def after_boot(lab, what, persist):
    if persist:
        # A cut before its files were whole leaves no unit; one after it has the profile applied at boot.
        lab.want("for i in {1..240}; do [[ $(systemctl is-active nettune.service) == activating ]] || exit 0; sleep 0.5; done; exit 1",
                 seconds=200)
        _, said, _ = lab.guest("systemctl is-active nettune.service")
        lab.note(f"nettune.service is {said.strip()}")
        lab.want("! systemctl --failed --no-legend | grep nettune")
        lab.count(f"boots_{said.strip()}")
    else:
        nothing_left(lab, what)
    code, out, err = lab.guest("nettune status")
    if code not in (0, 3, 4):
        lab.fail(f"{what}: status ended with {code}: {out}{err}")
    lab.want("nettune rollback")
    lab.want("nettune status", code=3)
    if persist:
        # Links that came up under our default_qdisc and are not ours keep fq; nettune says so, and this is how it goes.
        lab.want('[[ $(tc qdisc show dev "$NIC2") != "qdisc fq 0:"* ]] ||'
                 ' { tc qdisc replace dev "$NIC2" root pfifo && tc qdisc del dev "$NIC2" root; }')
    fresh(lab, "/var/tmp/lab-after")
    lab.want(f"same /var/tmp/lab-fresh /var/tmp/lab-after 'after the rollback after {what}'")


def nothing_left(lab, what):
    # Before a rollback: the kernel knows nothing of it any more. Files and the units they enable live on.
    fresh(lab, "/var/tmp/lab-booted")
    lab.want("for f in fresh booted; do"
             " grep -v -E '^(files|service|tuned|irq) ' /var/tmp/lab-$f > /var/tmp/lab-$f.kernel; done;"
             f" same /var/tmp/lab-fresh.kernel /var/tmp/lab-booted.kernel 'after {what}'")
