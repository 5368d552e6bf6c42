"""A throw-away SLURM cluster on one machine, for tests: its own network, its own files, nothing of it stays.

    with Cluster(folder) as cluster:
        cluster.run(["sbatch", ...], user=True)

slurmctld, two slurmd, slurmdbd on a MariaDB, and munge run by hand in namespaces of their own (mount, network, pid)
with no network device but loopback: no port of the machine is taken, /etc/slurm is not touched, no job can reach a
network, and whatever ends the tests ends them all. GPUs are declared, not real. Needs root and Debian's packages
slurmctld, slurmd, slurm-client, slurmdbd, mariadb-server and munge (SLURM 22.05).
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import psutil
from plain_user import AS_USER, USER, opening

PROGRAMS = ["slurmctld", "slurmd", "slurmdbd", "sbatch", "sacctmgr", "munged", "mariadbd", "unshare", "nsenter", "ip"]
NODES = ("n1", "n2")
GPUS_PER_NODE = 4
ACCOUNT = "lab"

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# A job that is queued again waits this long (the default is 120 s).
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
# Without cgroups: memory is polled, and a job above its limit is killed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
JobRequeue=1
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout=10
ReturnToService=2
TCPTimeout=2
MessageTimeout=10
EnforcePartLimits=ALL
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStorageEnforce=limits,qos
AccountingStoragePass={folder}/munge.socket
MailProg=/bin/true
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=16 Boards=1 SocketsPerBoard=1 \
CoresPerSocket=16 ThreadsPerCore=1 RealMemory=16000 Gres=gpu:a100:{gpus} State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL State=UP DefMemPerCPU=500 DefaultTime=30 MaxTime=1-00:00:00 OverSubscribe=NO \
PreemptMode=OFF
PartitionName=cpu Default=YES
PartitionName=gpu
PartitionName=scavenge PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent PriorityTier=10
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=33306
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
CommitDelay=0
"""


class Unavailable(Exception):
    """This machine cannot hold the cluster; the message says why."""


class Cluster:
    """The cluster in a folder of its own, which the plain user can enter. A context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        foreign = ("SLURM_", "SBATCH_")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}

    def __enter__(self) -> "Cluster":
        if os.geteuid() != 0:
            raise Unavailable("a SLURM cluster for tests needs root")
        missing = [program for program in PROGRAMS if not shutil.which(program, path=_path())]
        if missing:
            raise Unavailable(f"not installed: {', '.join(missing)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        with contextlib.ExitStack() as stack:
            self._open_namespace(stack)
            self._start_munge()
            self._start_accounting()
            for node in NODES:
                (self.folder / f"spool-{node}").mkdir()
                (self.folder / f"log-{node}").mkdir()
            self.start("slurmctld")
            for node in NODES:
                self.start("slurmd", node)
            _wait(60, "idle nodes", lambda: set(self.read("sinfo -h -N -o %t").split()) == {"idle"})
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()

    def command(self, arguments: list[str], user: bool = False) -> list[str]:
        """Return the command that runs `arguments` where the cluster is, as root or as the plain user."""
        inside = ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", f"--wd={self.folder}"]
        return [*inside, *(AS_USER if user else []), *arguments]

    def run(self, arguments: list[str], user: bool = False, **options) -> subprocess.CompletedProcess:
        options = {"env": self.environment, "capture_output": True, "text": True} | options
        return subprocess.run(self.command(arguments, user), stdin=subprocess.DEVNULL, **options)

    def read(self, line: str) -> str:
        """Return what a command of SLURM prints. Raises AssertionError with its complaint when it fails."""
        done = self.run(shlex.split(line), timeout=60)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, *fields: str) -> list[dict]:
        """Return what accounting knows of all jobs, in the order of their ids, one record for every start of each."""
        _wait(60, "accounting", lambda: "DBD Agent queue size: 0\n" in self.read("sdiag"))
        names = ["JobIDRaw", "State", "Start", "End", "AllocTRES", "Comment", *fields]
        lines = self.read(f"sacct --allusers --duplicates -X -n -P -S 2000-01-01 -o {','.join(names)}").splitlines()
        return [dict(zip(names, line.split("|"))) for line in lines]

    def resume(self, node: str) -> bool:
        """Set a node up that was set down; say whether it is."""
        self.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])
        return "down" not in self.read(f"sinfo -h -N -n {node} -o %t")

    def start(self, daemon: str, node: str | None = None) -> None:
        self.run([daemon, *(["-N", node] if node else [])], check=True)
        if not node:
            _wait(30, daemon, lambda: "is UP" in self.run(["scontrol", "ping"]).stdout)

    def stop(self, daemon: str, node: str | None = None, how: int = signal.SIGTERM) -> None:
        """End a daemon by its process id, and wait until it is gone."""
        name = f"{daemon}-{node}" if node else daemon
        pid = (self.folder / f"{name}.pid").read_text().strip()
        self.run(["kill", f"-{int(how)}", pid], check=True)
        _wait(30, f"the end of {name}", lambda: self.run(["kill", "-0", pid]).returncode != 0)

    def _open_namespace(self, stack: contextlib.ExitStack) -> None:
        script = ["set -e", "umask 022", *opening(self.folder), "ip link set lo up"]
        # Where SLURM looks for its settings by itself; the machine's own folder stays as it is below.
        (self.folder / "etc").mkdir()
        script += ["mkdir -p /etc/slurm", f"mount --bind {shlex.quote(str(self.folder / 'etc'))} /etc/slurm"]
        # The resolver takes a machine that has no address but 127.0.0.1 for one without IPv4. The last line is that of
        # the first process of the namespace, which has to wait for those that lost their parents.
        script += ["ip address add 192.0.2.1/32 dev lo", "echo open", "while :; do sleep 1; done"]
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        command += ["--mount-proc", "--propagation", "private", "bash", "-c", "\n".join(script)]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stack.callback(self.holder.wait)
        stack.callback(self.holder.kill)
        if self.holder.stdout.readline() != "open\n":
            raise Unavailable(f"no namespace for the cluster: {self.holder.stderr.read().strip()}")
        self.init = psutil.Process(self.holder.pid).children()[0].pid

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o400)
        key.write_bytes(secrets.token_bytes(128))
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self.run(["munged", "--force", *options], check=True)

    def _start_accounting(self) -> None:
        values = {"folder": self.folder, "host": socket.gethostname().split(".")[0], "gpus": GPUS_PER_NODE}
        values |= {"password": secrets.token_hex(16)}
        for number in range(GPUS_PER_NODE):
            os.mknod(self.folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (self.folder / "state").mkdir()
        (self.folder / "etc" / "gres.conf").write_text(
            f"Name=gpu Type=a100 File={self.folder}/gpu[0-{GPUS_PER_NODE - 1}]\n"
        )
        (self.folder / "etc" / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (self.folder / "etc" / "slurmdbd.conf").touch(0o600)
        (self.folder / "etc" / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
        data, database_socket = self.folder / "mysql", self.folder / "mysql.socket"
        self.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"], check=True
        )
        options = ["--no-defaults", "--user=root", f"--datadir={data}", f"--socket={database_socket}", "--skip-log-bin"]
        options += ["--bind-address=127.0.0.1", "--port=33306", f"--pid-file={self.folder}/mariadbd.pid"]
        options += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--performance-schema=OFF"]
        log = (self.folder / "mariadbd.log").open("w")
        subprocess.Popen(
            self.command(["mariadbd", *options, "--innodb-flush-log-at-trx-commit=0"]),
            **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True},
        )
        client = ["mariadb", "--no-defaults", f"--socket={database_socket}", "-e"]
        _wait(60, "mariadbd", lambda: self.run([*client, "SELECT 1"]).returncode == 0)
        grant = "CREATE DATABASE slurm; GRANT ALL ON slurm.* TO slurm@'{host}' IDENTIFIED BY '{password}';"
        for host in ("127.0.0.1", "localhost"):
            statement = grant.format(host=host, password=values["password"])
            self.run([*client, statement.replace("CREATE DATABASE", "CREATE DATABASE IF NOT EXISTS")], check=True)
        self.run(["slurmdbd"], check=True)
        _wait(60, "slurmdbd", lambda: self.run(["sacctmgr", "-n", "list", "cluster"]).returncode == 0)
        self.read("sacctmgr -i add cluster lab")
        self.read(f"sacctmgr -i add account {ACCOUNT} Cluster=lab Description=lab Organization=lab")
        for name in ("root", _name(USER)):
            self.read(f"sacctmgr -i add user {name} Account={ACCOUNT} Cluster=lab DefaultAccount={ACCOUNT}")


def _name(user: int) -> str:
    import pwd

    return pwd.getpwuid(user).pw_name


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _wait(seconds: float, what: str, done) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.1)
