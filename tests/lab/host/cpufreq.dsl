/* Gives QEMU's CPUs three frequencies each, so that acpi-cpufreq loads. The control register is a port nobody answers. */
DefinitionBlock ("", "SSDT", 2, "NTLAB", "CPUFREQ", 1)
{
    External (\_SB.CPUS.C000, DeviceObj)
    External (\_SB.CPUS.C001, DeviceObj)
    External (\_SB.CPUS.C002, DeviceObj)
    External (\_SB.CPUS.C003, DeviceObj)
    Scope (\_SB.CPUS.C000)
    {
        Name (_PPC, 0)
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) } })
        Name (_PSS, Package () {
            Package () { 3000, 65000, 10, 10, 0x01, 0x01 },
            Package () { 2000, 40000, 10, 10, 0x02, 0x02 },
            Package () { 1000, 20000, 10, 10, 0x03, 0x03 } })
    }
    Scope (\_SB.CPUS.C001)
    {
        Name (_PPC, 0)
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) } })
        Name (_PSS, Package () {
            Package () { 3000, 65000, 10, 10, 0x01, 0x01 },
            Package () { 2000, 40000, 10, 10, 0x02, 0x02 },
            Package () { 1000, 20000, 10, 10, 0x03, 0x03 } })
    }
    Scope (\_SB.CPUS.C002)
    {
        Name (_PPC, 0)
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) } })
        Name (_PSS, Package () {
            Package () { 3000, 65000, 10, 10, 0x01, 0x01 },
            Package () { 2000, 40000, 10, 10, 0x02, 0x02 },
            Package () { 1000, 20000, 10, 10, 0x03, 0x03 } })
    }
    Scope (\_SB.CPUS.C003)
    {
        Name (_PPC, 0)
        Name (_PCT, Package () {
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) },
            ResourceTemplate () { Register (SystemIO, 16, 0, 0x0000000000005000, 0) } })
        Name (_PSS, Package () {
            Package () { 3000, 65000, 10, 10, 0x01, 0x01 },
            Package () { 2000, 40000, 10, 10, 0x02, 0x02 },
            Package () { 1000, 20000, 10, 10, 0x03, 0x03 } })
    }
}
