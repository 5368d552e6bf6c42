# group: gpu
# tries: writes its own files in /proc (memory, names, memory's order of death, timers, attributes) and the kernel's
# static: unsafe
# sandbox: trained

import os
import threading

import torch.nn as nn

KERNEL = ("sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/drop_caches", "sysrq-trigger", "irq", "bus/pci")


def try_all(who):
    places = [f"/proc/{name}" for name in KERNEL]
    for folder in ("/proc/self", "/proc/thread-self", "/proc/1", f"/proc/{os.getpid()}", "/proc/self/task"):
        for place, folders, files in os.walk(folder):
            if place.count("/") > 5 or "/fd" in place or "/map_files" in place or "/net" in place:
                folders.clear()
                continue
            places += [f"{place}/{name}" for name in files]
    names = "mem comm oom_score_adj oom_adj clear_refs timerslack_ns coredump_filter attr/current attr/exec uid_map"
    places += [f"/proc/self/{name}" for name in names.split()]
    for place in places:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            try:
                os.close(os.open(place, flags))
            except OSError:
                continue
            print("BREACH", who, "opens", place, "for writing")
            return


def attack():
    try_all("the first thread")
    other = threading.Thread(target=try_all, args=("another thread",))
    other.start()
    other.join()


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        attack()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
