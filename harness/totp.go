package harness

import (
	"fmt"
	"time"

	"github.com/pquerna/otp/totp"
)

// codePeriod is how long a one-time code holds (RFC 6238 §5.2; what the apps of all people use).
const codePeriod = 30 * time.Second

func stepOf(now time.Time) int64 { return now.Unix() / int64(codePeriod/time.Second) }

// codeAt is the code of a user at a time (RFC 6238).
func (tr *Trace) codeAt(user *User, now time.Time) (string, error) {
	code, err := totp.GenerateCode(user.TOTPSeed, now)
	if err != nil {
		return "", fmt.Errorf("%w: users[].totp_seed of %s: %w", ErrLogin, user.Username, err)
	}
	tr.Redactor.Register("one-time code", code)
	return code, nil
}

// oneTimeCode is the code of a user for now. None is given out twice: a server takes each once (RFC 6238 §5.2), so the next one is
// waited for.
func (tr *Trace) oneTimeCode(user *User) (string, error) {
	for {
		now := tr.Clock.Now()
		if tr.sessions.takeCode(user, stepOf(now)) {
			return tr.codeAt(user, now)
		}
		wait := time.Unix((stepOf(now)+1)*int64(codePeriod/time.Second), 0).Sub(now)
		if tr.Waits != nil {
			tr.Waits(wait, "because each one-time code is used once")
		}
		tr.Clock.Sleep(tr.ctx, wait)
		if tr.ctx.Err() != nil || tr.Stopped() != "" {
			return "", fmt.Errorf("%w: interrupted", ErrLogin)
		}
	}
}

// takeCode reports whether the code of a step was not taken before, and takes it.
func (s *sessions) takeCode(user *User, step int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, taken := s.codes[user.Username]; taken && step <= last {
		return false
	}
	s.codes[user.Username] = step
	return true
}
