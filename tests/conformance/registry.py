"""Which RPCs and which of their errors have a test. Cases register themselves here when their module is imported."""

import dataclasses
import typing

COLLECTIONS = "vecino.v1.CollectionService/"
DOCUMENTS = "vecino.v1.DocumentService/"
SEARCH = "vecino.v1.SearchService/"
EMBEDDING = "vecino.v1.EmbeddingService/"
ADMIN = "vecino.v1.AdminService/"
OPERATIONS = "google.longrunning.Operations/"


@dataclasses.dataclass
class Case:
    """One test. `run` takes the World; `code` is the error it is about, or None where it is about success. A `general` one is
    of every method: it stands for what the comment above the service says, not for what the method's own says."""

    rpc: str
    code: typing.Optional[str]
    title: str
    run: typing.Callable
    needs_model: bool = False
    general: bool = False

    def __str__(self):
        return f"{self.rpc} {self.code or 'OK'}: {self.title}"


CASES = []
# (RPC or `service/*`, code) → why no test provokes it.
EXCEPTIONS = {}
# str(case) → what is wrong with the server. Such a case fails when it passes, so that this list stays true.
KNOWN = {}


def covers(rpc, model=False):
    """A test of what an RPC does when all is well."""

    def register(run):
        CASES.append(Case(rpc, None, run.__name__.replace("_", " "), run, model))
        return run

    return register


def provokes(rpc, code, model=False):
    """A test that provokes an error and checks it itself."""

    def register(run):
        CASES.append(Case(rpc, code, run.__name__.replace("_", " "), run, model))
        return run

    return register


def refuses(rpc, code, title, request, field=None, model=False, timeout=60):
    """A call that must fail so. `request` is a dict or a function of the World; `field` is what BadRequest must name."""

    def run(world):
        world.refused(rpc, code, request(world) if callable(request) else request, field, timeout)

    CASES.append(Case(rpc, code, title, run, model))


def excuse(rpc, code, reason):
    """No test provokes this error, for this reason."""
    EXCEPTIONS[rpc, code] = reason


def excused(rpc, code):
    """The reason, or None."""
    return EXCEPTIONS.get((rpc, code)) or EXCEPTIONS.get((rpc.partition("/")[0] + "/*", code))


def known_bug(rpc, code, title, what):
    """The case of this title fails for now, because of a fault of the server that stands written elsewhere, too."""
    KNOWN[f"{rpc} {code or 'OK'}: {title}"] = what
