// Package enroll is how instances come by certificates while the ring runs: those that
// have one renew it, and those that were invited get their first.
//
//	new host ── CSR, signed by the invitation's key ──► any instance ─┐
//	                                                                  │ gathers over the ring
//	instance ── CSR, signed by the key it has now ────────────────────┤
//	                                                                  ▼
//	                                            issuers: instances with the authority's key
//
// What is asked is proof by itself: it is signed by a key that a certificate, or an
// invitation on the bus, stands for. So it does not matter by way of whom it goes, and
// whoever hears it can do nothing with it: the answer is a certificate of a key that
// never left its host.
//
// [Serve] makes an issuer of an instance. [Keep] renews an instance's own certificate in
// the last third of its life, and takes over what the authority says of its roots and of
// what it has revoked, which travels on the bus and is signed by the authority itself.
// [Invite] makes an [Invitation] for a name of the roster, good for one certificate;
// [Invitation.Accept] is what the new host does with it.
package enroll
