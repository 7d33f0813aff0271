package doctor

// Schema of the JSON that `weavewg doctor --json` prints.
const Schema = "weavewg.doctor/v1"

// States of a Finding.
const (
	OK      = "ok"
	Warn    = "warn"    // works, but not as well as it could
	Missing = "missing" // weavewg does without
	Fatal   = "fatal"   // weavewg does not work without
)

// Finding is one line of the table.
type Finding struct {
	What    string `json:"what"`
	State   string `json:"state"`
	Found   string `json:"found"`
	Follows string `json:"follows"` // what that means for weavewg
	Try     string `json:"try"`     // how to change it
}

// Findings are all lines.
type Findings struct {
	Schema   string    `json:"schema"`
	Findings []Finding `json:"findings"`
}

// Fatal says that something essential lacks.
func (f Findings) Fatal() bool {
	for _, one := range f.Findings {
		if one.State == Fatal {
			return true
		}
	}
	return false
}

// probe is something that a host may have.
type probe struct {
	what    string
	try     func() (found string, err error) // an error says what lacks
	lacking string                           // state without it
	have    string                           // what follows if it is there
	lack    string                           // what follows if it is not
	remedy  string
}

// run turns a probe into a finding.
func (p probe) run() Finding {
	found, err := p.try()
	if err != nil {
		return Finding{What: p.what, State: p.lacking, Found: err.Error(), Follows: p.lack, Try: p.remedy}
	}
	return Finding{What: p.what, State: OK, Found: found, Follows: p.have}
}
