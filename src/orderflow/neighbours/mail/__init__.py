"""
The local mail sink: a neighbour that takes every mail and delivers none, over SMTP.

Owns: the accepted mails, an append-only file of JSON lines.

Guarantee: a mail that was answered with 250 is in the file, through kill -9 of the process: mails
that came together are one write before their answers. Not through a loss of power: nothing is
synced to the disk. A Message-ID is accepted once; offered again it is answered with 250 too,
dropped, and counted, as by a mailbox that recognises repeats. A mail without a Message-ID is new.

It misbehaves on purpose, at switchable rates and for single addresses: see `faults`. Rooms:
`smtp_server` (connections), `dialogue` (what is said on one), `mailbox` (accepted mails),
`content` (what is read of one), `faults`, `api` (reads them over HTTP), `config`.
"""
