% Which driver a device gets (docs/087-devices.md), over the facts of schema.rs. To be
% read and changed. The server reads this file when somebody first asks for what has
% `driver` in its name, as all predicates here have: the boot needs none of it.

% driver(Compatible, Module, Priority): the drivers that there are. A program of that
% name in the archive drives such devices; cpudriver is the kernel itself.
driver('arm,gic-400', irqd, 0).
driver('arm,cortex-a15-gic', irqd, 0).
driver('arm,gic-v3', irqd, 0).
driver('arm,gic-v2m-frame', irqd, 0).
driver('arm,armv8-timer', cpudriver, 0).
driver('arm,pl011', pl011, 0).
driver('arm,pl011-axi', pl011, 0).
driver('arm,sbsa-uart', pl011, 0).
driver('snps,dw-apb-uart', ns16550, 0).
driver('brcm,bcm2835-aux-uart', ns16550, 0).
driver(ns16550, ns16550, 1).
driver(ns16550a, ns16550, 1).
driver('brcm,bcm2835-pm-wdt', 'bcm2835-pm', 0).
driver('brcm,bcm2835-mbox', 'bcm2835-mbox', 0).
driver('brcm,bcm2711-gpio', 'bcm2711-gpio', 0).
driver('brcm,bcm2835-system-timer', 'bcm2835-systimer', 0).
driver('pci-host-ecam-generic', pcid, 0).
driver('arm,sbsa-pcie', pcid, 0).
driver('marvell,armada8k-pcie-ecam', pcid, 0).
driver('brcm,bcm2711-emmc2', sdhci, 0).
driver('brcm,bcm2835-sdhci', sdhci, 0).
driver('virtio,mmio', 'virtio-mmio', 0).

% driver_memory(Module, Bytes, End): memory that the driver shares with its device, all
% of it below the physical address End, which is as far as the device reaches.
driver_memory('bcm2835-mbox', 0x1000, 0x40000000).

% driver_service(Module, Name): the driver serves under that name. The next driver is
% started when it does, or has ended.
driver_service(sdhci, files).
driver_service('virtio-console', console).
driver_service('virtio-rng', entropy).

% driver_looks(Module): the driver looks at its device instead of taking interrupts, and
% is given none. (The two SD host controllers of BCM2711 share one.)
driver_looks(sdhci).
driver_looks('bcm2711-gpio').
driver_looks('bcm2835-systimer').

% driver_interrupt(Path, Intid, Trigger): the interrupts that a device's driver is given.
driver_interrupt(Path, Intid, Trigger) :-
    \+ ( driver_for(Path, Module), driver_looks(Module) ),
    device_irq(Path, _, Intid, Trigger).

% driver_for(Path, Module): the driver of a device: the one for its most specific
% compatible string, of several the one with the lowest priority number.
driver_for(Path, Module) :-
    device(Path, Compatibles),
    findall(k(I, Priority, M),
            ( nth0(I, Compatibles, C), driver(C, M, Priority) ),
            Keyed),
    sort(Keyed, [k(_, _, Module)|_]).

% driver_use(Module, Use): init has started it for such a device already, or (asked) starts it
% once somebody wants to know of devices: what is on PCI buses nobody needs before. A slot is a
% place for a device; what is in there is looked at then, too.
driver_use(cpudriver, kernel).
driver_use(pcid, asked).
driver_use('virtio-mmio', slot).
driver_use(irqd, first).
driver_use(pl011, console).
driver_use(ns16550, console).
driver_use('virtio-console', console).

% driver_plan(Path, Module, Plan): what becomes of a device that has registers or
% interrupts. Plan is kernel, first, console, asked or slot (driver_use), start, absent (the
% archive lacks Module), or none (nothing drives such a device; Module is none, too).
driver_plan(Path, Module, Plan) :-
    device(Path, _),
    driver_may_have(Path),
    (   driver_for(Path, M)
    ->  Module = M, driver_module_plan(M, Plan)
    ;   Module = none, Plan = none
    ).

driver_may_have(Path) :- device_reg(Path, _, _, _), !.
driver_may_have(Path) :- device_irq(Path, _, _, _), !.

driver_module_plan(M, Plan) :- \+ module(M, _), !, Plan = absent.
driver_module_plan(M, Plan) :- driver_use(M, Use), !, Plan = Use.
driver_module_plan(_, start).

% driver_pci(Vendor, Device, Module): the drivers of functions on PCI buses.
driver_pci(0x1af4, Device, Module) :- driver_virtio(Type, Module), driver_virtio_pci(Type, Device).

% driver_virtio(Type, Module): the drivers of virtio devices, on PCI buses and in slots.
driver_virtio(3, 'virtio-console').
driver_virtio(4, 'virtio-rng').

% driver_virtio_pci(Type, Device): what a virtio device of that type is called on a PCI bus: the
% number that it had before version 1 of the interface, and the one since.
driver_virtio_pci(3, 0x1003).
driver_virtio_pci(4, 0x1005).
driver_virtio_pci(Type, Device) :- Device is 0x1040 + Type.

% driver_function(Address, Module, Plan): what becomes of a function on a PCI bus. Plan is
% bus for what the host bridge's driver drives itself, Module (bridges, base class 6); start,
% console, absent, or none as for devices. A console is started if there is no other.
driver_function(Address, Module, Plan) :-
    pci(Address, Vendor, Device),
    (   pci_class(Address, 6, _, _)
    ->  Module = pcid, Plan = bus
    ;   driver_pci(Vendor, Device, M)
    ->  Module = M, driver_module_plan(M, Plan)
    ;   Module = none, Plan = none
    ).

% driver_slot(Path, Module, Plan): the same of the virtio device in a slot.
driver_slot(Path, Module, Plan) :-
    slot_virtio(Path, Type),
    (   driver_virtio(Type, M)
    ->  Module = M, driver_module_plan(M, Plan)
    ;   Module = none, Plan = none
    ).
