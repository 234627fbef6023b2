"""Strategies for any policy there can be for x86_64."""

from hypothesis import strategies as st

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.policy import constraints, model
from scmm_oci.policy.paths.patterns import escape
from scmm_oci.tables import errnos, groups, states, syscalls, vocabulary
from scmm_oci.tables.arch import Arch

NAMES = sorted(syscalls.numbers("x86_64"))
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
error_names = st.sampled_from(errnos.known()) | st.integers(1, errnos.MAX).map(str)
rights = st.lists(st.sampled_from(vocabulary.ACCESS_RIGHTS), min_size=1, max_size=4, unique=True).map(tuple)
networks = st.lists(st.sampled_from(["any", "0.0.0.0/0", "10.1.0.0/16", "::1"]), max_size=2, unique=True).map(tuple)
ports = st.lists(
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda two: model.PortRange(min(two), max(two))),
    max_size=3,
    unique=True,
).map(tuple)
origins = st.builds(
    model.Origin,
    count=st.integers(0, 2**64),
    denied=st.integers(0, 9),
    phases=st.lists(st.sampled_from(Phase), unique=True).map(tuple),
    sessions=st.lists(st.sampled_from(SessionKind), unique=True).map(tuple),
    programs=st.lists(text, max_size=2, unique=True).map(tuple),
    observed=st.integers(0, 9),
    recordings=st.integers(0, 9),
    reason=text,
)
_name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=8)
paths = st.lists(_name.filter(lambda name: name not in (".", "..")), max_size=4).map(
    lambda names: "/" + "/".join(map(escape, names))
)
wild_paths = paths | st.sampled_from(["/**", "/srv/**", "/srv/*/log", "/var/log/*.log", "${HOME}/x", "/a/[0-9]?"])
applies = st.builds(
    model.Applies,
    st.lists(st.sampled_from(["CAP_SYS_ADMIN", "CAP_CHOWN"]), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(["amd64", "arm64", "s390x"]), max_size=2, unique=True).map(tuple),
    st.none() | st.sampled_from(["4.8", "5.0"]),
)
_followers = st.sampled_from(
    [*NAMES[:40], *sorted(states.called(Arch.X86_64).keys() - NAMES), *sorted(states.REFINED.keys() & NAMES), "@timer"]
)
_firsts = _followers | st.sampled_from([states.START, *states.BEGINNINGS])
_plain_followers = _followers.filter(lambda word: word[0] != "@")
_keys = _firsts | st.tuples(_firsts.filter(lambda word: word[0] != "@"), _plain_followers).filter(
    lambda pair: pair[0] != pair[1]
).map(" > ".join)
transitions = st.dictionaries(_keys, st.lists(_followers, unique=True, max_size=4), max_size=5).map(
    lambda found: tuple(model.Transition.of(key, to) for key, to in found.items())
)
servings = st.builds(
    model.Serving,
    st.lists(st.sampled_from(["listen", "accept", "accept4", "read", "@timer"]), unique=True, min_size=1).map(tuple),
    transitions,
)


@st.composite
def constraint(draw, name):
    """A constraint that a filter can hold, on an argument of a call that is no address of a structure."""
    args = [arg for arg in range(6) if not constraints.is_structure(name, arg, Arch.X86_64)]
    arg = draw(st.sampled_from(args))
    known = constraints.known_words(name, arg, Arch.X86_64)
    # Of what has no names, a number with more than the kernel takes is none.
    taken = 2**32 - 1 if known else constraints.width(name, arg, Arch.X86_64)
    words = st.integers(0, 2**32 - 1).map(lambda number: str(number & taken))
    if known:
        words |= st.sampled_from(known)
    kind = draw(st.sampled_from([model.ArgType.INTEGER, model.ArgType.FLAGS]))
    if draw(st.booleans()):
        op = draw(st.sampled_from(model.Operator))
        value = draw(st.integers(0, 2**64 - 1))
        mask = draw(st.integers(0, 2**64 - 1)) if op is model.Operator.MASKED_EQ else None
        return model.Constraint(arg, kind, op=op, value=value if mask is None else value & mask, mask=mask)
    some = st.lists(words, max_size=3, unique=True).map(tuple)
    matches = tuple(model.Match(word) for word in draw(some))
    allowed, denied = draw(some), draw(some)
    if not (matches or allowed or denied):
        allowed = (draw(words),)
    return model.Constraint(arg, kind, matches, allowed, denied)


@st.composite
def rules(draw, names=None):
    """Rules for calls: several with constraints and one without for a name; sometimes groups."""
    found = []
    for name in draw(st.lists(st.sampled_from(names or NAMES), unique=True, max_size=6)):
        sets = [tuple(draw(st.lists(constraint(name), min_size=1, max_size=2))) for _ in range(draw(st.integers(0, 2)))]
        for one in [*sets, *([()] if draw(st.booleans()) or not sets else [])]:
            found.append(draw(rule(name, one)))
    for name in draw(st.lists(st.sampled_from(sorted(groups.groups())), unique=True, max_size=1)):
        found.append(draw(rule(name, ())))
    return tuple(found)


@st.composite
def rule(draw, name, one):
    """A rule with the given constraints."""
    actions = [action for action in model.Action if action is not model.Action.NOTIFY or name != "write"]
    action = draw(st.sampled_from(actions))
    return model.SyscallRule(
        name,
        action,
        draw(st.none() | error_names) if action is model.Action.DENY else None,
        one,
        draw(st.none() | origins),
        draw(st.none() | st.integers(0, 65535)) if action is model.Action.TRACE else None,
        comment=draw(text),
    )


@st.composite
def policies(draw):
    """Any policy for x86_64."""
    beside = draw(st.sets(st.sampled_from(Arch.X86_64.beside)))
    action = draw(st.sampled_from([action for action in model.Action if action is not model.Action.NOTIFY]))
    settings = model.Settings(
        default_action=action,
        default_errno=draw(error_names),
        default_message=draw(st.none() | st.integers(0, 9)) if action is model.Action.TRACE else None,
        log_denials=draw(st.booleans()),
        architectures=(Arch.X86_64, *(arch for arch in Arch.X86_64.beside if arch in beside)),
        bad_arch_action=draw(st.sampled_from(model.Action)),
        flags=draw(st.none() | st.lists(st.sampled_from(model.FilterFlag), unique=True).map(tuple)),
        listener=draw(st.none() | st.builds(model.Listener, st.just("/run/x.sock"), st.none() | text)),
        arch_map=tuple(draw(st.lists(st.builds(model.ArchMap, st.just("SCMP_ARCH_MIPS")), max_size=1))),
        run_as=draw(st.none() | st.builds(model.RunAs, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))),
    )
    network_rule = st.builds(
        model.NetworkRule, st.sampled_from(model.Protocol), networks, ports, networks, st.none() | origins
    )
    network_rules = st.lists(network_rule, max_size=2).map(tuple)
    path_rule = st.builds(model.PathRule, wild_paths, rights, st.sampled_from(model.OnMissing), st.none() | origins)
    path_rule |= st.builds(
        lambda rule, access, origin: model.PathRule(rule[0], access, origin=origin, excluded=tuple(rule[1:])),
        st.sampled_from([("/srv/**", "/srv/a", "/srv/b/c"), ("/srv", "/srv/é"), ("${HOME}/**", "${HOME}/.ssh")]),
        rights,
        st.none() | origins,
    )
    texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
    capability = st.sampled_from(vocabulary.CAPABILITIES).map("CAP_{}".format)
    scopes = st.lists(st.sampled_from(model.LandlockScope), unique=True).map(tuple)
    following = draw(st.none() | transitions)
    serving = draw(st.none() | servings)
    watched = following is not None or serving is not None
    return model.Policy(
        draw(st.builds(model.Metadata, text, text, texts, texts, texts)),
        settings,
        draw(rules()),
        draw(st.none() | st.lists(capability, max_size=3, unique=True).map(tuple)),
        draw(st.none() | st.lists(path_rule, max_size=2).map(tuple)),
        draw(st.none() | st.builds(model.Network, st.booleans(), network_rules, network_rules)),
        draw(st.none() | scopes),
        following,
        serving,
        draw(st.none() | st.sampled_from(model.WatchAction)) if watched else None,
    )
