package harness

import "time"

// RunSchema names the version of run.json (design §6).
const RunSchema = "popcheck.run/1"

// Run is run.json: everything that a report prints. All text in it is redacted.
type Run struct {
	Schema       string                `json:"schema"`
	Popcheck     string                `json:"popcheck"`  // version of the binary
	Catalogue    string                `json:"catalogue"` // version of the set of checks
	Target       RunTarget             `json:"target"`
	Profile      string                `json:"profile"`
	ProfileText  string                `json:"profile_text,omitempty"` // the specification text that the profile follows
	Profiles     []RunProfile          `json:"profiles,omitempty"`     // how the checks of the run stand under each profile
	MadeUnder    string                `json:"made_under,omitempty"`   // the profile of the run itself, where the levels here are those of another
	Notes        []string              `json:"notes,omitempty"`        // what a reader of the levels has to know
	FailOn       Level                 `json:"fail_on"`
	Select       string                `json:"select"`
	Seed         uint64                `json:"seed"`
	Started      time.Time             `json:"started"`
	Finished     time.Time             `json:"finished"`
	Complete     bool                  `json:"complete"`
	Incomplete   string                `json:"incomplete,omitempty"`  // why it is not complete
	Left         []string              `json:"left_behind,omitempty"` // what popcheck made at the target and could not remove, and why
	Problems     []string              `json:"problems,omitempty"`    // what a person has to mend: a refused client, a wrong CA
	BadWaivers   []string              `json:"bad_waivers,omitempty"` // waivers that are expired, unknown, or whose check passes now: they fail the run
	Capabilities map[string]Capability `json:"capabilities"`
	Requests     int                   `json:"requests,omitempty"` // sent to the target, the honest tries before the first check included
	Logins       int                   `json:"logins,omitempty"`   // passwords typed into a page
	Rests        *RunRests             `json:"rests,omitempty"`    // nil: the target never asked for any
	Results      []Result              `json:"results"`
	Summary      map[Verdict]int       `json:"summary"`
}

// Checks are the ids of the checks that have results, each once.
func (r *Run) Checks() []string {
	var out []string
	seen := map[string]bool{}
	for i := range r.Results {
		if id := r.Results[i].ID; !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// RunProfile is a profile with the checks of a run about which the profiles do not all say the same, by id.
type RunProfile struct {
	Name   string              `json:"name"`
	Text   string              `json:"text"`
	Checks map[string]Standing `json:"checks"`
}

// Standing says how a check stands under a profile, and why, with the clause of the profile's text.
type Standing struct {
	Level   Level  `json:"level"` // where it is unasked: that under the profiles that ask for it
	Unasked bool   `json:"unasked,omitempty"`
	Why     string `json:"why"`
}

// String is the level, in a word or two.
func (s Standing) String() string {
	if s.Unasked {
		return "not asked for"
	}
	return string(s.Level)
}

// RunRests is how the target slowed popcheck down: by 429, or by 503 (RFC 6585 §4, RFC 9110 §15.6.4).
type RunRests struct {
	Asked     int     `json:"asked"`                         // answers that asked for rest
	WaitedMS  int64   `json:"waited_ms"`                     // for them
	PerSecond float64 `json:"requests_per_second,omitempty"` // at the end of the run; 0: not limited
}

// RunTarget is what was tested. Product, Version and Recipe are what the target file says of it or, for the first two, its Server header.
type RunTarget struct {
	Name    string `json:"name"`
	Issuer  string `json:"issuer"`
	Product string `json:"product"`
	Version string `json:"version"`
	Recipe  string `json:"recipe,omitempty"` // how it was started and set up
	File    string `json:"file"`             // "embedded" for the reference target
	Fault   string `json:"fault,omitempty"`  // the fault that the embedded target ran with
}

// Capability is something the target can do and how that is known: declared, discovered or observed.
type Capability struct {
	Value string `json:"value"` // "yes", "no", "unknown", or what was found
	How   string `json:"how"`   // "declared", "discovered", "observed", and by what
}

// Result is one check at one place; Key is stable over runs and versions.
type Result struct {
	Key       string     `json:"key"` // id@endpoint[/grant][/client][/variant]
	ID        string     `json:"id"`
	Title     string     `json:"title"`
	Suite     string     `json:"suite"`
	Mechanism Mechanism  `json:"mechanism"`
	Endpoint  string     `json:"endpoint"`
	Grant     string     `json:"grant,omitempty"`
	Client    string     `json:"client,omitempty"`
	Variant   string     `json:"variant,omitempty"`
	Role      Role       `json:"role"`
	Verdict   Verdict    `json:"verdict"`
	Level     Level      `json:"level"`
	Severity  Severity   `json:"severity"`
	Threat    Threat     `json:"threat"`
	Clause    Clause     `json:"clause"`
	Covers    []string   `json:"covers,omitempty"` // ids of the requirement catalogue
	Why       string     `json:"why,omitempty"`    // the consequence of a finding, in a sentence
	Fix       string     `json:"fix,omitempty"`    // what the server's author should do
	Expected  string     `json:"expected,omitempty"`
	Reason    string     `json:"reason"`
	Measured  string     `json:"measured,omitempty"`
	Values    []Value    `json:"values,omitempty"`   // what Measured says, in parts
	Observed  *Observed  `json:"observed,omitempty"` // what the run came to, where another profile makes something else of it
	Waiver    *RunWaiver `json:"waiver,omitempty"`
	Source    Source     `json:"source"`
	Duration  int64      `json:"duration_ms"`
	Exchanges []Exchange `json:"exchanges,omitempty"`
}

// Observed is the verdict of the run itself.
type Observed struct {
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"`
}

// Value is something that was measured, not judged: a window, a lifetime, a way of working.
type Value struct {
	Name   string `json:"name"`             // "proofs dated back"; the same at every place
	Value  string `json:"value"`            // with its unit: "300 s"
	Stated string `json:"stated,omitempty"` // what the target itself says of it: "expires_in 60"
	How    string `json:"how"`              // how it was learned
}

// RunWaiver is the waiver that covers a result.
type RunWaiver struct {
	Reason string `json:"reason"`
	Until  string `json:"until"` // a date, YYYY-MM-DD
}

// Source is where the row of the check is declared, relative to the repository.
type Source struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// ExchangeRole tells an honest call from the attack between them.
type ExchangeRole string

// The roles of an exchange.
const (
	ControlExchange ExchangeRole = "control"
	AttackExchange  ExchangeRole = "attack"
)

// Exchange is one request and what came back, redacted by value.
type Exchange struct {
	Role     ExchangeRole     `json:"role"`
	Step     string           `json:"step"` // "token request", "login form"
	Request  ExchangeRequest  `json:"request"`
	Response ExchangeResponse `json:"response"`
	TLS      *ExchangeTLS     `json:"tls,omitempty"`
	OffsetMS int64            `json:"offset_ms"` // since the first exchange of the result
	TookMS   int64            `json:"took_ms"`
	Shared   bool             `json:"shared,omitempty"` // made for the check before this one; nothing was sent in between
}

// ExchangeRequest is what was sent. Changed names the parameters, headers and proof members in which
// an attack differs from its control: "code_verifier", "DPoP.htu".
type ExchangeRequest struct {
	Method  string    `json:"method"`
	URL     string    `json:"url"`
	Headers []Field   `json:"headers,omitempty"`
	Body    string    `json:"body,omitempty"`
	Decoded []Decoded `json:"decoded,omitempty"`
	Changed []string  `json:"changed,omitempty"`
}

// ExchangeResponse is what came back. Error is set, and Status 0, when no HTTP answer came.
type ExchangeResponse struct {
	Status    int       `json:"status"`
	Headers   []Field   `json:"headers,omitempty"`
	Body      string    `json:"body,omitempty"`
	Truncated bool      `json:"truncated,omitempty"` // the body went on beyond the limit for evidence
	Decoded   []Decoded `json:"decoded,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// Field is one header field in the order and spelling of the wire.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Decoded is a JWT shown by member: a proof, an assertion, an access token.
type Decoded struct {
	Name   string   `json:"name"` // "DPoP proof", "access_token"
	Header []Member `json:"header"`
	Claims []Member `json:"claims"`
}

// Member is one JSON member. Change is "", "changed", "added" or "removed"; Was is the honest value.
type Member struct {
	Name   string `json:"name"`
	Value  string `json:"value"` // compact JSON
	Change string `json:"change,omitempty"`
	Was    string `json:"was,omitempty"`
}

// ExchangeTLS is what the handshake showed. Thumbprint is the base64url SHA-256 of the client
// certificate's DER (RFC 8705 §3.1).
type ExchangeTLS struct {
	Version              string `json:"version,omitempty"`
	CertificateRequested bool   `json:"certificate_requested"`
	CertificatePresented string `json:"certificate_presented,omitempty"` // its name in the run and thumbprint
	Thumbprint           string `json:"thumbprint,omitempty"`
	Resumed              bool   `json:"resumed,omitempty"`
	FreshConnection      bool   `json:"fresh_connection"`
}
