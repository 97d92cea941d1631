# timeout: 400
"""The lab itself: what was flushed outlives a power cut, what was at run time does not, and two boots are alike."""


def run(lab):
    lab.powercut()
    lab.boot()
    lab.want("settle; snapshot /var/tmp/lab-a && sync /var/tmp/lab-a")
    lab.guest("echo kept > /var/tmp/lab-kept; sync /var/tmp/lab-kept; sysctl -q net.core.somaxconn=4097")
    lab.guest("echo lost > /var/tmp/lab-lost")
    lab.powercut()
    lab.boot()
    lab.want("cat /var/tmp/lab-kept", out="kept\n")
    lab.want("test ! -s /var/tmp/lab-lost")
    lab.want("settle; snapshot /var/tmp/lab-b; same /var/tmp/lab-a /var/tmp/lab-b 'two boots'")
    lab.count("cuts", 2)
