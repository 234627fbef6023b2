"""Which directories no pattern may open without a person's yes: system roots, homes, secrets, and what all share.

Asked about patterns that stand for more than was seen. A rule for one file that was seen is another matter. Called by
policy.paths.generalise, and by whoever asks before taking a wide rule.
"""

from __future__ import annotations

import re

from scmm_oci.policy.paths.patterns import Kind, Pattern, root

# Everything in them: configuration, processes, devices, kernel images, homes; and where container engines and
# systemd put secrets.
ROOTS = (
    *("/etc", "/proc", "/sys", "/dev", "/boot", "/root", "/home"),
    *("/run/secrets", "/var/run/secrets", "/run/credentials", "/run/user", "/var/lib/docker", "/var/lib/containers"),
    *("/usr/local/etc", "/var/spool/cron", "/var/backups", "/var/mail", "/var/spool/mail"),
)
_ROOTS_BELOW: dict[str, list[str]] = {}
for _one in ROOTS:
    _ROOTS_BELOW.setdefault(_one.split("/", 2)[1], []).append(_one)
# Shared between programs: not to be opened as a whole, while what lies in them is a program's own (hier(7)).
TOP = frozenset(
    [
        "/usr",
        "/var",
        "/run",
        "/opt",
        "/srv",
        "/mnt",
        "/media",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/bin",
        "/sbin",
        "/var/run",
        "/var/lock",
        "/run/lock",
        "/usr/local",
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
    ]
)
# The same, but reading the files that lie directly in them is no secret.
SHARED = frozenset(
    [
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/libx32",
        "/usr/libexec",
        "/usr/share",
        "/usr/include",
        "/usr/src",
        "/usr/local/lib",
        "/usr/local/share",
        "/var/lib",
        "/var/log",
        "/var/cache",
        "/var/spool",
        "/var/opt",
        "/var/local",
        "/var/www",
    ]
)
_MULTIARCH = re.compile(r"/(?:usr/)?lib/[a-z0-9_]+-linux-[a-z0-9]+\Z")
# Names of directories and files with credentials, wherever they lie.
SECRET_NAMES = frozenset(
    [
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".gcloud",
        ".kube",
        ".docker",
        ".password-store",
        ".netrc",
        ".pgpass",
        ".my.cnf",
        ".git-credentials",
        ".vault-token",
        ".npmrc",
        ".pypirc",
        ".mozilla",
        ".thunderbird",
        "secrets",
        ".secrets",
        ".secret",
        "private",
        "serviceaccount",
        "shadow",
        "gshadow",
        "shadow-",
        "gshadow-",
        "sudoers",
        "docker.sock",
        "podman.sock",
        "containerd.sock",
        "crio.sock",
    ]
)
_KEY_FILE = re.compile(
    r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|.*\.(?:key|p12|pfx|jks|keystore|kdbx|ppk)|.*private.*\.pem|.*key\.pem"
)
# Of a process's own directory: its threads and descriptors, not its memory.
_OWN = re.compile(r"/proc/(?:self|thread-self)/(?:task|fd|fdinfo)(?:/|\Z)")
_NAMED = re.compile(r"[^*?\[]")


# Installed software: programs read it, and what writes there changes what runs the next time (hier(7)).
_SOFTWARE = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix", "/gnu", "/snap")
_PACKAGES = ("/var/lib/dpkg", "/var/lib/rpm", "/var/lib/apt", "/var/lib/pacman", "/lib/apk", "/var/lib/apk")


def software_root(directory: str) -> str | None:
    """The tree of installed software, or of what knows about it, that a directory is in: written only with a yes."""
    return next((one for one in (*_SOFTWARE, *_PACKAGES) if within(directory, one)), None)


def is_secret_name(name: str) -> bool:
    """Whether a file of that name holds credentials, wherever it lies: a private key, a password file."""
    return name in SECRET_NAMES or _KEY_FILE.fullmatch(name) is not None


def is_secret(path: str) -> bool:
    """Whether the path is credentials or lies in a directory of them."""
    names = path.split("/")
    return not SECRET_NAMES.isdisjoint(names) or is_secret_name(names[-1])


def protected_root(pattern: Pattern) -> str | None:
    """The protected directory or file that the pattern would open, or None.

    A pattern is protected if it begins with a wildcard or ${HOME}; if it can reach a protected root from above or
    beneath; if it has a component that names credentials; and if it opens a shared directory (TOP, SHARED) as a
    whole: as `DIR` or `DIR/**`, one of TOP also as `DIR/*`. Exceptions are /dev/shm, and task, fd and fdinfo of a
    process's own directory in /proc.
    A name in /home comes with it: each is a home of its own.
    """
    if "HOME" in pattern.variables:
        return "${HOME}"
    base = root(pattern)
    if base == "/":
        return "/"
    if within(base, "/dev/shm") or _OWN.match(base):
        return None
    shared = is_shared(base) and _is_whole(pattern, base)
    for one in _ROOTS_BELOW.get(base.split("/", 2)[1], ()):
        if _reaches(pattern, one):
            return base if shared else "/".join(base.split("/")[:3]) if one == "/home" else one
    if shared and (pattern.kind is not Kind.FILES or base in TOP):
        return base
    for index, part in enumerate(pattern.parts):
        if part.name in SECRET_NAMES or (index == len(pattern.parts) - 1 and _KEY_FILE.fullmatch(part.text)):
            return "/" + "/".join(above.text for above in pattern.parts[: index + 1])
    return None


def is_shared(path: str) -> bool:
    """Whether the directory is one that programs share: of TOP, SHARED, or a library directory of an architecture."""
    return path in TOP or path in SHARED or _MULTIARCH.match(path) is not None


def within(path: str, directory: str) -> bool:
    """Whether the path is the directory or lies beneath it, by components."""
    return path == directory or directory == "/" or path.startswith(f"{directory}/")


def _reaches(pattern: Pattern, directory: str) -> bool:
    """Whether the pattern can grant the directory or anything beneath it."""
    names = directory.split("/")[1:]
    if pattern.kind is Kind.FILES and len(pattern.parts) <= len(names):
        return False
    return all(one.matches(name) or one.variable for one, name in zip(pattern.parts, names, strict=False))


def _is_whole(pattern: Pattern, base: str) -> bool:
    """Whether nothing after the base narrows it by a letter of its own: `/var/*` is whole, `/var/*/x` is not."""
    depth = base.count("/")
    return not any(_NAMED.search(re.sub(r"\[[^]]*\]", "", one.text)) for one in pattern.parts[depth:])
