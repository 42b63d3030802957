"""A peer of Braid's wire protocol that means harm, written from docs/wire.md; it shares no code with the engine.

`noise` the handshake's cryptography, `handshake` hello, cookie and welcome, `records` what opens and seals a datagram,
`frames` and `segments` what stands in one, `client` an honest proxy to begin from, `concentrator` the other side of
the same, `floods` strangers without a session. The attacks are the tests in `test_hostile_*.py`.
"""
