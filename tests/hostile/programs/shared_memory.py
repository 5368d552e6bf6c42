# group: persistence
# tries: leaves named shared memory, semaphores and System V segments
# static: unsafe
# sandbox: trained
# repeat: 2

import ctypes
import multiprocessing.shared_memory as shared

import torch.nn as nn

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
KEY = 0x41524348


def attack():
    try:
        kept = shared.SharedMemory("archloop-breach", create=True, size=4096)
        kept.buf[:6] = b"breach"
    except FileExistsError:
        print("BREACH shared memory of another run")
    except OSError:
        pass
    libc.sem_open(b"/archloop-breach", 0o100, 0o666, 1)
    for create, name in ((29, "shmget"), (64, "semget"), (68, "msgget")):
        if name == "msgget":
            libc.syscall(create, KEY, 0o1666)
        else:
            libc.syscall(create, KEY, 1 if name == "semget" else 4096, 0o1666)


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        if not TRIED:
            TRIED.append(1)
            attack()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        )
        self.classifier = nn.Linear(200, out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))


TRIED = []
