// Package trust says who is who on a ring.
//
//	Authority (a directory; its key never leaves it)
//	   │ signs a request; the key of it stays where it was made
//	   ▼
//	identity.pem ──┐
//	ca.pem ────────┼─► Store ─► Server, Client   TLS 1.3, both ends with a certificate
//	crl.pem ───────┘     ▲      Sign, CheckSigned  what is relayed through others
//	                     │
//	                   Learn: new roots and revocations, from whomever they come
//
// A certificate has exactly one URI of ours, and its holder speaks for that name alone:
//
//	ring://RING/NAME        an instance, ring://prod/dc1/prod/0
//	ring+admin://RING/NAME  an operator who may change things
//	ring+read://RING/NAME   an operator who may look
//
// All keys are ECDSA P-256. Names that browsers look at (DNS, IP) may be in a certificate
// beside it and mean nothing to instances.
//
// # A directory with an identity
//
//	identity.pem  the key (PKCS 8), the certificate, cross certificates; mode 0600
//	ca.pem        the roots, the statement which of them count, cross certificates
//	crl.pem       what was revoked; may be missing
//
// Key and certificate share a file, so that they are exchanged in one rename and never
// misfit, whatever a crash interrupts. ca.pem is written before identity.pem and crl.pem
// behind it: a crash between them leaves what Open takes, or, where the authority has
// become another one, what it refuses with a text that says to do it again.
//
// # Rotation of the authority
//
// Authority.Rotate makes a new root. The old one signs it once, a cross certificate, and its
// key is destroyed. Chains carry the cross certificate, so who knows only the old root takes
// certificates of the new one. The new root says which roots count (a statement, below):
// both, until Authority.FinishRotation. Roots and revocations prove themselves and may come
// over any way, see Store.Learn.
//
// Of the roots that a Store knows one is the newest. It alone says what counts, and signs
// its one successor. The key of an older root, should it leak, can neither bring a root in
// nor drop one, except for those who have not heard of its successor; while that root
// counts, it can sign certificates. Who has missed up to three rotations follows by the
// cross certificates; who has missed more is given the roots by hand. The key of the newest is
// the ring: whoever has stolen it is the authority until the roots are replaced by hand on
// each host (a new Authority, or Rotate and FinishRotation, and its ca.pem everywhere).
//
// A statement is a PEM block RING ROOTS of these bytes: "ringroot", the version 1, its
// number (64 bits), the length of the ring's name (8 bits) and the name, how many roots
// count (8 bits), the SHA-256 of each one's certificate, the signer's first; then the
// signature, ASN.1 ECDSA over the SHA-256 of all that, by the first. Numbers are big-endian.
// Of two statements of one signer the one with the higher number holds.
//
// # Limits
//
// A chain has at most 4 certificates and 8 KiB, a file 1 MiB. A revocation list does not run
// out: the newest that is known counts, until another comes. Who never hears of a revocation
// takes the certificate until it ends, so lives are short (30 days by default) and renewed.
package trust
