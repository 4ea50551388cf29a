"""Control calls on how requests are answered and user streams are heard."""

from paper_exchange.control.request import Action, Actions, ControlRequest, Levers


def add_fault(levers: Levers, request: ControlRequest) -> object:
    return levers.faults.add(request.body).view()


def list_faults(levers: Levers, _: ControlRequest) -> object:
    return {"faults": [fault.view() for fault in levers.faults.rules]}


def remove_faults(levers: Levers, request: ControlRequest) -> object:
    return {"removed": levers.faults.remove(request.query.get("id"))}


def add_stream_fault(levers: Levers, request: ControlRequest) -> object:
    return levers.users.faults.add(request.body).view()


def list_stream_faults(levers: Levers, _: ControlRequest) -> object:
    return {"faults": [fault.view() for fault in levers.users.faults.rules]}


def remove_stream_faults(levers: Levers, request: ControlRequest) -> object:
    return {"removed": levers.users.faults.remove(request.query.get("id"))}


def drop_streams(levers: Levers, request: ControlRequest) -> object:
    """Cut the user streams of an account, or with `all` every stream connection there is."""
    key = None if request.flag("all") else levers.owner(request).key
    return {"dropped": levers.users.drop_connections(key)}


def expire_listen_key(levers: Levers, request: ControlRequest) -> object:
    account = levers.owner(request)
    levers.exchange.listen_keys.expire(account.key)
    return {"key": account.key}


ACTIONS: Actions = {
    ("POST", "/paper/faults"): Action(run=add_fault, changes=False),
    ("GET", "/paper/faults"): Action(run=list_faults, changes=False),
    ("DELETE", "/paper/faults"): Action(run=remove_faults, changes=False),
    ("POST", "/paper/streams/faults"): Action(run=add_stream_fault, changes=False),
    ("GET", "/paper/streams/faults"): Action(run=list_stream_faults, changes=False),
    ("DELETE", "/paper/streams/faults"): Action(run=remove_stream_faults, changes=False),
    ("POST", "/paper/streams/drop"): Action(run=drop_streams, changes=False),
    ("POST", "/paper/streams/expire"): Action(run=expire_listen_key),
}
