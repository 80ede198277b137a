"""The ATMA chat server.

Rooms, from the ground up: `channels` (a user's log and texts), `generations` (one answer),
`notifications`, `conversations`, `assessments`, `session` (one client), then side by side
`gateway` (doors) and `adapters` (the outside world), and the roof: `node`, `app`, `settings`,
`__main__`. `embedded` is what a fresh machine runs instead of real services.

Imports go downwards only. `server/README.md` walks one message through the house.
"""
