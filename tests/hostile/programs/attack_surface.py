# group: kernel
# tries: opens the parts of the kernel that attacks begin with
# static: unsafe
# sandbox: trained

import ctypes

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attack():
    large = ctypes.create_string_buffer(256)
    large[0:8] = b"\x01\x00\x00\x00\x70\x00\x00\x00"
    for name, *call in (
        ("userfaultfd", 323, 0),
        ("perf_event_open", 298, large, 0, -1, -1, 0),
        ("bpf", 321, 0, large, 128),
        ("add_key", 248, b"user", b"archloop", b"x", 1, -3),
        ("keyctl", 250, 0, -3, 1),
        ("request_key", 249, b"user", b"archloop", None, 0),
        ("fanotify_init", 300, 0, 0),
        ("modify_ldt", 154, 0, large, 16),
        ("iopl", 172, 3),
        ("ioperm", 173, 0x80, 1, 1),
        ("init_module", 175, large, 8, b""),
        ("finit_module", 313, -1, b"", 0),
        ("kexec_load", 246, 0, 0, None, 0),
        ("swapon", 167, b"./swap", 0),
        ("acct", 163, None),
        ("quotactl", 179, 0x800001, None, 0, None),
        ("syslog", 103, 3, large, 200),
        ("lookup_dcookie", 212, 0, large, 64),
        ("move_pages", 279, 0, 0, None, None, None, 0),
        ("process_madvise", 440, -1, None, 0, 0, 0),
        ("memfd_secret", 447, 0),
        ("landlock and seccomp listener", 317, 1, 8, large),
        ("msgget", 68, 0x41524349, 0o1666),
        ("mq_open", 240, b"archloop-breach", 0o102, 0o666, None),
    ):
        if libc.syscall(*call) >= 0:
            print(f"BREACH {name}")


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
