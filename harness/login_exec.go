package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// execDriver leaves the login to a program of the user, also where a login is an API. Its last argument is the authorization URL; in its
// environment are POPCHECK_USERNAME, POPCHECK_PASSWORD, POPCHECK_TOTP (a one-time code, where the user has a seed), POPCHECK_CLIENT_ID and
// POPCHECK_SESSION_DIR, a directory that is the user's own and empty where nobody is logged in: what the program keeps there it finds
// again. Its first line says how it ended: the final redirect URI, or "page" and the HTTP status of the server's own page. Any other exit
// status than 0 is a login that failed, and counts.
type execDriver struct{ command []string }

func (d execDriver) authorize(tr *Trace, b *browserSession, e errand) (*FrontChannel, error) {
	line, target, err := d.run(tr, b, e)
	if err == nil && e.reload { // the address was loaded before, by the same user
		line, target, err = d.run(tr, b, e)
	}
	if err != nil {
		return nil, err
	}
	r := &Request{Step: "authorization request, by " + d.command[0], Method: "GET", URL: e.address, Changed: e.changed}
	front := &FrontChannel{Unseen: "the login driver exec shows no pages: the program of login.command sees them"}
	if status, ok := strings.CutPrefix(line, "page "); ok {
		answer := &Answer{Header: http.Header{}, URL: target}
		if answer.Status, err = strconv.Atoi(strings.TrimSpace(status)); err != nil || answer.Status < 200 || answer.Status > 599 {
			return nil, fmt.Errorf("%w: %s printed %q: no HTTP status follows \"page\"", ErrLogin, d.command[0], clip(line))
		}
		tr.record(r, answer, tr.started)
		front.Page, front.Hops = answer, []Hop{{After: "authorization request", Answer: answer}}
		return front, nil
	}
	back, err := tr.backAt(e.client, line, d.command[0]+" printed")
	if err != nil {
		return nil, err
	}
	tr.broughtBack(front, r, back, target)
	return front, nil
}

// backAt reads a redirect URI that a program or a person brings.
func (tr *Trace) backAt(c *Client, line, who string) (*url.URL, error) {
	back, err := url.Parse(strings.TrimSpace(line))
	if err != nil || back.Scheme == "" {
		return nil, fmt.Errorf("%w: %s no redirect URI", ErrLogin, who)
	}
	if !belongs(c, back) {
		return nil, fmt.Errorf("%w: %s an address that is none of the client's redirect_uris: %s://%s%s", ErrLogin, who, back.Scheme, back.Host, back.Path)
	}
	return back, nil
}

// broughtBack is the end of an authorization of which only the redirect is known.
func (tr *Trace) broughtBack(front *FrontChannel, r *Request, back, target *url.URL) {
	answer := &Answer{Status: http.StatusFound, Header: http.Header{"Location": {back.String()}}, URL: target}
	tr.registerInvented(answer)
	tr.record(r, answer, tr.started)
	front.Redirect, front.Params = back.String(), responseParameters(back)
	front.Hops = []Hop{{After: "authorization request", Answer: answer}}
}

// mayGo lets a login begin whose requests are not sent by popcheck itself: the address is the target's, and its turn has come.
func (tr *Trace) mayGo(address string) (*url.URL, error) {
	target, failure := tr.permit(address)
	if failure == nil {
		failure = tr.pace(tr.ctx)
	}
	if failure != nil {
		return nil, fmt.Errorf("%w: %s", ErrLogin, failure.Error())
	}
	if why := tr.sessions.exhausted(); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrLogin, why)
	}
	return target, nil
}

// run calls the program once and returns the first line that it prints.
func (d execDriver) run(tr *Trace, b *browserSession, e errand) (line string, target *url.URL, err error) {
	if target, err = tr.mayGo(e.address); err != nil {
		return "", nil, err
	}
	environment, err := d.environment(tr, b, e)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(tr.ctx, 6*tr.Target.Limits.Timeout)
	defer cancel()
	program := exec.CommandContext(ctx, d.command[0], slices.Concat(d.command[1:], []string{e.address})...)
	program.WaitDelay = time.Second // a child that it leaves behind may hold its output open
	program.Dir, program.Env = tr.Target.Dir, environment
	var complaints, out strings.Builder
	program.Stderr, program.Stdout = &limitedWriter{&complaints, 4 << 10}, &limitedWriter{&out, 64 << 10}
	err = program.Run()
	var exited *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", nil, fmt.Errorf("%w: %s printed no redirect URI within %s (six times limits.timeout): %s", ErrLogin, d.command[0], 6*tr.Target.Limits.Timeout, strings.TrimSpace(complaints.String()))
	case ctx.Err() != nil:
		return "", nil, fmt.Errorf("%w: interrupted", ErrLogin)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		if errors.As(err, &exited) {
			tr.countFailedLogin()
		}
		return "", nil, fmt.Errorf("%w: %s: %w: %s", ErrLogin, d.command[0], err, strings.TrimSpace(complaints.String()))
	}
	line, _, _ = strings.Cut(strings.TrimSpace(out.String()), "\n")
	return strings.TrimSpace(line), target, nil
}

func (d execDriver) environment(tr *Trace, b *browserSession, e errand) ([]string, error) {
	begins := b.dir == ""
	if begins {
		dir, err := os.MkdirTemp("", "popcheck-session-")
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLogin, err)
		}
		b.dir = dir
	}
	environment := append(os.Environ(), "POPCHECK_USERNAME="+e.user.Username, "POPCHECK_PASSWORD="+e.user.Password,
		"POPCHECK_CLIENT_ID="+e.client.ClientID, "POPCHECK_SESSION_DIR="+b.dir)
	if e.user.TOTPSeed == "" {
		return environment, nil
	}
	if !begins { // where the program is logged in still, it needs none: nothing is waited for
		tr.sessions.takeCode(e.user, stepOf(tr.Clock.Now()))
		code, err := tr.codeAt(e.user, tr.Clock.Now())
		return append(environment, "POPCHECK_TOTP="+code), err
	}
	code, err := tr.oneTimeCode(e.user)
	return append(environment, "POPCHECK_TOTP="+code), err
}

type limitedWriter struct {
	to   *strings.Builder
	left int
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	keep := min(len(p), w.left)
	w.to.Write(p[:keep])
	w.left -= keep
	return len(p), nil
}
