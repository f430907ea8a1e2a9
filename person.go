package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/popcheck/popcheck/harness"
)

// loginFailed is the file for the page of a failed login: a text, so that nothing in it runs.
const loginFailed = "login-failed.txt"

// person is who sits before this process; what is told goes to the console alone, past every report.
func person(w streams) harness.Person {
	p := harness.Person{Tell: func(text string) { fmt.Fprintln(w.err, "\npopcheck:", text) }}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		p.Read = lines(os.Stdin)
	}
	return p
}

// lines reads lines one by one, for whoever asks at the time.
func lines(from io.Reader) func(context.Context) (string, error) {
	type line struct {
		text string
		err  error
	}
	var begin sync.Once
	came := make(chan line)
	return func(ctx context.Context) (string, error) {
		begin.Do(func() {
			go func() {
				in := bufio.NewReader(from)
				for {
					text, err := in.ReadString('\n')
					came <- line{text, err}
					if err != nil {
						return
					}
				}
			}()
		})
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case l := <-came:
			return l.text, l.err
		}
	}
}
