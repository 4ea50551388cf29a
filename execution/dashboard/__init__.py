"""Pages for people who watch and act: the board, each trade, each decision.

`views.py` answers the addresses, `board.py` writes the live part of the first page, `live.py` brings it to every
viewer. Pages are rendered by the server from what `queries/` reads and act by the functions that the API and the admin
call. A reader signs in at the admin, and sees here what he may see there.
"""
