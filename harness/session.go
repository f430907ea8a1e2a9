package harness

import (
	"crypto/tls"
	"crypto/x509"
)

// TLSSession is a TLS session that is kept on purpose, so that another identity resumes it, or at another address of the server
// (RFC 8446 §2.2, §4.6.1). Connections keep none otherwise: each identity has its own handshakes. The zero value holds none yet.
type TLSSession struct {
	Resumed bool // whether the last connection with it was a resumption

	ticket *tls.ClientSessionState
}

// Get hands the ticket out whatever server it is for: that is the attack.
func (s *TLSSession) Get(string) (*tls.ClientSessionState, bool) { return s.ticket, s.ticket != nil }

// Put keeps the latest ticket.
func (s *TLSSession) Put(_ string, ticket *tls.ClientSessionState) {
	if ticket != nil {
		s.ticket = ticket
	}
}

// Begun reports whether the server gave a ticket.
func (s *TLSSession) Begun() bool { return s.ticket != nil }

// resumeWith lets a connection resume the session. crypto/tls would withhold a ticket from a host that the certificate of the first
// connection does not name; who can use the ticket is the server that was verified then, so only a full handshake is verified.
func (s *TLSSession) resumeWith(config *tls.Config) {
	config.ClientSessionCache = s
	if s.ticket == nil {
		return
	}
	roots, host := config.RootCAs, config.ServerName
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.DidResume {
			return nil
		}
		intermediates := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host, Intermediates: intermediates})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
}

// Connection is one connection that requests go over on purpose, one after the other (RFC 9112 §9.3); others are taken fresh for an
// attack. The zero value is not open yet.
type Connection struct {
	Reused bool // whether the last request went over it and was not the first

	open *connection
}

// take returns the open connection, or nil where there is none that still lives.
func (c *Connection) take() *connection {
	if c == nil || c.open == nil {
		return nil
	}
	open := c.open
	c.open, c.Reused = nil, false
	if !open.alive() {
		open.Close()
		return nil
	}
	open.facts.FreshConnection, c.Reused = false, true
	return open
}

// Close ends it, if it is open.
func (c *Connection) Close() {
	if c.open != nil {
		c.open.Close()
		c.open = nil
	}
}
