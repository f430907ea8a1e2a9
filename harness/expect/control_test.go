package expect_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/popcheck/popcheck/attacks"
	"github.com/popcheck/popcheck/harness"
	"github.com/popcheck/popcheck/harness/expect"
)

// A control is made again unless it is the very last thing that was sent, at the same place, and was accepted.
func TestAControlIsSharedOnlyWhenNothingWasSentSince(t *testing.T) {
	var arrivals []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrivals = append(arrivals, r.URL.Path) }))
	defer server.Close()
	refused := harness.Outcome{State: harness.Refused, At: "the token endpoint", Status: 400}
	for name, x := range map[string]struct {
		place   [2]string
		between bool
		control harness.Outcome
		want    []string
		shared  int
	}{
		"same place":          {place: [2]string{"a", "a"}, control: granted(), want: []string{"/honest", "/attack", "/honest", "/attack", "/honest"}, shared: 1},
		"another place":       {place: [2]string{"a", "b"}, control: granted(), want: []string{"/honest", "/attack", "/honest", "/honest", "/attack", "/honest"}},
		"something between":   {place: [2]string{"a", "a"}, between: true, control: granted(), want: []string{"/honest", "/attack", "/honest", "/between", "/honest", "/attack", "/honest"}},
		"a refused control":   {place: [2]string{"a", "a"}, control: refused, want: []string{"/honest", "/honest"}},
		"nothing was learned": {place: [2]string{"a", "a"}, control: unknown(), want: []string{"/honest", "/honest"}},
	} {
		t.Run(name, func(t *testing.T) {
			arrivals = nil
			send := func(c *expect.Case, path string) {
				c.Do(harness.Request{Step: path, Method: "GET", URL: server.URL + path})
			}
			results := run(t, newTester(t, server.URL), func(s *expect.Suite) {
				for i, id := range []string{"first", "second"} {
					s.It(check(id), at, func(c *expect.Case) {
						if i == 1 && x.between {
							send(c, "/between")
						}
						honest := c.Proven(x.place[i], func() harness.Outcome { send(c, "/honest"); return x.control })
						answer := c.Between(honest, func() harness.Outcome {
							send(c, "/attack")
							return refused
						}, "the honest call")
						c.Refuses(answer, attacks.InvalidDPoPProof())
					})
				}
			})
			if len(arrivals) != len(x.want) {
				t.Fatalf("arrived: %q, want %q", arrivals, x.want)
			}
			for i := range x.want {
				if arrivals[i] != x.want[i] {
					t.Fatalf("arrived: %q, want %q", arrivals, x.want)
				}
			}
			shared := 0
			for _, e := range results[1].Exchanges {
				if e.Shared {
					shared++
				}
			}
			if shared != x.shared {
				t.Errorf("%d shared exchanges in the second record, want %d", shared, x.shared)
			}
			if x.control.State == harness.Granted && !x.between && len(results[1].Exchanges) != 3 {
				t.Errorf("the record of the second check has %d exchanges, want control, attack, control", len(results[1].Exchanges))
			}
		})
	}
}
