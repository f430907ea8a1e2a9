package attacks

import "testing"

// TestEveryRowIsFound: a failed line in a report leads to the row of its check.
func TestEveryRowIsFound(t *testing.T) {
	for _, e := range Catalogue() {
		if e.Source.File == "" || e.Source.Line == 0 {
			t.Errorf("%s: its id does not stand in its row; write it as a literal", e.ID)
		}
	}
}
