package discoro_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What no linter knows about this repository: who starts goroutines, what a mutex guards, which way imports point.
// Each rule is a row of conventions, with sources that break it and sources that keep it, so that a rule which can
// no longer fail is itself a failure.

// modulePath is ours; what starts with it is our own code.
const modulePath = "github.com/discoro/discoro"

// maxLines is where a reader of a file gets lost.
const maxLines = 500

// goStarters are the functions of library code that may start goroutines, and why. Everything else hands its
// function to one of these, so that Close can wait for all of them.
var goStarters = map[place]string{
	{"discoro.go", "(*Runtime).start"}:             "counts every goroutine of the runtime, for Close to wait for",
	{"internal/turn/turn.go", "(*Turn).kick"}:      "counts runners: Close waits for all but those of abandoned coroutines",
	{"internal/turn/turn.go", "(*Turn).run"}:       "replaces itself where runtime.Goexit ends it, and takes over its count",
	{"internal/link/net.go", "(*Net).Bye"}:         "waits for its goroutines before it returns",
	{"internal/cli/operate.go", "operate"}:         "writes standard output, which nobody may read: ends with hush, or with the process",
	{"internal/cli/operate.go", "readLines"}:       "reads standard input, which a Read cannot be got out of: ends with that, or with the process",
	{"discorotest/cluster.go", "(*Cluster).close"}: "waits for its goroutines before it returns",
	{"internal/stopwatch/stopwatch.go", "Start"}:   "ends with the stopwatch, which the test's end stops",
	{"process.go", "serveProcess"}:                 "reads standard input, which a Read cannot be got out of: ends with the process",
	{"wire/protect.go", "newProtection"}:           "derives a key, which ends by itself, and Ready waits for it",

	{"internal/testkit/process.go", "StartProcess"}:  "waits for the process, which ends with the test",
	{"internal/testkit/proxy.go", "ProxyAt"}:         "Close, which the test's end calls, waits for it",
	{"internal/testkit/proxy.go", "(*Proxy).accept"}: "the same",
	{"internal/testkit/proxy.go", "SlowProxyAt"}:     "the test's end waits for its goroutines",
}

// place is a function in a file.
type place struct{ file, fn string }

// ownImports says which of our packages each package may import: the drawing in ARCHITECTURE.md. A
// row stands for its directory, and for those below it that have no row of their own. A package has
// its row before it has its files, so that the border is there first.
var ownImports = map[string][]string{
	"wire":               {},
	"internal/fault":     {},
	"internal/ratelog":   {},
	"internal/turn":      {},
	"internal/loop":      {},
	"internal/lan":       {},
	"internal/hours":     {},
	"internal/avail":     {},
	"internal/seam":      {},
	"internal/call":      {"wire"},
	"internal/transport": {"wire"},
	"internal/schedule":  {"wire", "internal/fault"},
	"internal/cli":       {"internal/fault"},
	"internal/statelock": {"internal/fault"},
	"internal/testnet":   {"internal/transport"},
	"internal/link":      {"wire", "internal/fault", "internal/ratelog", "internal/call", "internal/transport"},
	"internal/discover":  {"wire", "internal/fault", "internal/ratelog", "internal/loop", "internal/lan"},
	"internal/files":     {"wire", "internal/fault"},
	".": {
		"wire", "internal/fault", "internal/ratelog", "internal/turn", "internal/loop", "internal/hours", "internal/avail",
		"internal/seam", "internal/call", "internal/transport", "internal/schedule", "internal/cli", "internal/statelock", "internal/link",
		"internal/discover", "internal/files",
	},
	"httpd":                 {"."},
	"discorotest":           {".", "internal/seam", "internal/testnet"},
	"internal/stopwatch":    {}, // for tests, as is the next one
	"internal/testkit":      {},
	"internal/testkit/live": {".", "internal/seam", "internal/testkit"},
	"test":                  {".", "wire", "internal/seam", "internal/statelock", "internal/testkit", "internal/testkit/live", "internal/stopwatch", "discorotest"},
	"examples":              {".", "httpd", "discorotest", "examples/internal/demo", "examples/internal/prices", "examples/internal/procs"},
}

// homes are the modules that only some places import, so that what they are used for can be seen, and replaced.
var homes = map[string][]string{
	"github.com/hashicorp/yamux": {"internal/transport/"},
	"github.com/shirou/gopsutil": {"internal/avail/"},
	"github.com/fxamacker/cbor":  {"wire/"},
	"github.com/google/go-cmp":   {}, // tests only, as is what follows
	"pgregory.net/rapid":         {},
	"go.uber.org/goleak":         {"discorotest/", "internal/testkit/"},
}

// purePackages decide and encode; time, goroutines and connections are their callers'.
var purePackages = []string{"wire", "internal/schedule", "internal/hours"}

// impure are the files of pure packages that are not, and why.
var impure = map[string]string{
	"wire/handshake.go": "the greeting has deadlines",
	"wire/protect.go":   "a key is derived beside other work",
}

// rootRequirements are the modules that users of this one are made to take.
var rootRequirements = []string{
	"github.com/fxamacker/cbor/v2",
	"github.com/google/go-cmp",
	"github.com/hashicorp/yamux",
	"github.com/shirou/gopsutil/v3",
	"go.uber.org/goleak",
	"golang.org/x/sync",
	"pgregory.net/rapid",
}

// source is one file of the repository.
type source struct {
	path string         // slash-separated, from the repository's root
	text []byte         // what is in it
	fset *token.FileSet // positions in file
	file *ast.File      // nil for other files than Go's
}

// finding is one place that breaks a rule.
type finding struct {
	line int
	what string
}

// convention is a rule, the files it is for, and proof that it can fail.
type convention struct {
	name  string
	fix   string // what to do about a finding
	over  func(s *source) bool
	check func(s *source) []finding
	bad   []sample // each breaks the rule
	good  []sample // none does
}

// sample is a file that does not exist.
type sample struct{ path, text string }

// pattern is what no line may have. One that has none of the words does not have it: regular expressions are slow under the race
// detector.
type pattern struct {
	words []string
	re    *regexp.Regexp
}

// Words that must not stand in this file as they are, as it is searched too.
var (
	marks = pattern{[]string{"TO" + "DO", "FIX" + "ME", "X" + "XX"}, regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)}

	namelessWait = pattern{[]string{"Call", "call.New"}, regexp.MustCompile(`\bcall\.Call\{|\bCall\{(\}|of:)|new\((call\.)?Call\)|\bcall\.New\((""|nil|\))|[^*.\w]call\.Call($|\s)`)}
	ownFolders   = pattern{
		[]string{"/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"},
		regexp.MustCompile(`(^|[^A-Za-z0-9_.~-])/(wo` + `rk|ro` + `ot|ho` + `me)/`),
	}
)

var conventions = []convention{
	{
		name:  "goroutines have one owner",
		fix:   "start it through the runtime, or add the function to goStarters with the reason",
		over:  isLibrary,
		check: checkGoroutines,
		bad: []sample{
			{"link.go", "package discoro\nfunc (l *link) read() { go l.loop() }"},
			{"discoro.go", "package discoro\nfunc start() { go f() }"},
			{"link.go", "package discoro\nfunc (rt *Runtime) start() { go f() }"},
			{"httpd/httpd.go", "package httpd\nvar _ = func() { go f() }"},
			{"coro.go", "package discoro\nfunc f() { var wg sync.WaitGroup; wg.Go(func() {}) }"},
			{"coro.go", "package discoro\nfunc f() { g.group.Go(f) }"},
		},
		good: []sample{
			{"discoro.go", "package discoro\nfunc (rt *Runtime) start(f func()) { rt.wg.Go(f); go f() }"},
			{"link.go", "package discoro\nfunc (l *link) read() { l.rt.start(l.loop) }"},
		},
	},
	{
		name:  "a mutex says what it guards",
		fix:   "write what it guards on the field: `// guards following; leaf`",
		over:  isLibrary,
		check: checkMutexes,
		bad: []sample{
			{"coro.go", "package discoro\nimport \"sync\"\ntype T struct { mu sync.Mutex }"},
			{"coro.go", "package discoro\nimport \"sync\"\ntype T struct { mu sync.RWMutex // of T\n}"},
			{"coro.go", "package discoro\nimport \"sync\"\ntype T struct { sync.Mutex }"},
			{"coro.go", "package discoro\nimport sy \"sync\"\ntype T struct { in struct{ mu *sy.Mutex } }"},
			{"coro.go", "package discoro\nimport \"sync\"\nvar mu sync.Mutex"},
		},
		good: []sample{
			{"coro.go", "package discoro\nimport \"sync\"\ntype T struct {\nmu sync.Mutex // guards following; leaf\nn int\n}"},
			{"coro.go", "package discoro\nimport \"sync\"\n// mu guards names; leaf.\nvar mu sync.RWMutex"},
		},
	},
	{
		name:  "imports point one way",
		fix:   "wire <- internal <- discoro <- httpd, discorotest, examples; a new directory gets a row in ownImports",
		over:  isShipped,
		check: checkOwnImports,
		bad: []sample{
			{"wire/conn.go", `package wire; import "` + modulePath + `"`},
			{"link.go", `package discoro; import "` + modulePath + `/httpd"`},
			{"discorotest/cluster.go", `package discorotest; import "` + modulePath + `/wire"`},
			{"examples/hello/main.go", `package main; import "` + modulePath + `/examples/other"`},
			{"new/new.go", `package new`},
			{"internal/new/new.go", `package new`},
			{"internal/fault/fault.go", `package fault; import "` + modulePath + `/wire"`},
			{"internal/link/link.go", `package link; import "` + modulePath + `"`},
		},
		good: []sample{
			{"link.go", `package discoro; import "` + modulePath + `/wire"`},
			{"examples/hello/main.go", `package main; import "` + modulePath + `"`},
		},
	},
	{
		name:  "modules stay in their places",
		fix:   "use what the places in homes offer; wire imports the standard library and cbor only",
		over:  isShipped,
		check: checkHomes,
		bad: []sample{
			{"link.go", `package discoro; import "github.com/hashicorp/yamux"`},
			{"wire/transport.go", `package wire; import "github.com/hashicorp/yamux"`},
			{"node.go", `package discoro; import "github.com/shirou/gopsutil/v3/cpu"`},
			{"registry.go", `package discoro; import "github.com/fxamacker/cbor/v2"`},
			{"coro.go", `package discoro; import "pgregory.net/rapid"`},
			{"wire/conn.go", `package wire; import "golang.org/x/sync/semaphore"`},
		},
		good: []sample{
			{"internal/transport/conn.go", `package transport; import "github.com/hashicorp/yamux"`},
			{"wire/codec.go", `package wire; import ("io"; "crypto/tls"; "github.com/fxamacker/cbor/v2")`},
		},
	},
	{
		name:  "pure packages stay pure",
		fix:   "let the caller bring the time, the goroutine and the connection",
		over:  func(s *source) bool { return isShipped(s) && slices.Contains(purePackages, s.dir()) },
		check: checkPure,
		bad: []sample{
			{"internal/schedule/state.go", "package schedule\nfunc f() { go g() }"},
			{"internal/schedule/state.go", "package schedule\nimport \"time\"\nvar now = time.Now()"},
			{"internal/hours/hours.go", "package hours\nimport \"time\"\nvar timer = time.NewTimer"},
			{"wire/conn.go", "package wire\nimport \"net\"\nvar dial = net.Dial"},
			{"internal/schedule/state.go", "package schedule\nimport \"os\""},
		},
		good: []sample{
			{"internal/schedule/state.go", "package schedule\nimport \"time\"\nfunc f(now time.Time) time.Time { return now.Add(time.Second) }"},
			{"wire/handshake.go", "package wire\nimport \"time\"\nvar now = time.Now()"},
		},
	},
	{
		name:  "files are short",
		fix:   "one noun a file: move what has a name of its own to a file of that name",
		over:  isShipped,
		check: checkLength,
		bad:   []sample{{"coro.go", "package discoro\n" + strings.Repeat("\n", maxLines)}},
		good:  []sample{{"coro.go", "package discoro\n" + strings.Repeat("\n", maxLines-1)}},
	},
	{
		name:  "what is exported is documented",
		fix:   "write a comment that begins with the name and says what a caller must know",
		over:  isLibrary,
		check: checkDocs,
		bad: []sample{
			{"coro.go", "package discoro\nfunc Do() {}"},
			{"coro.go", "package discoro\n// Does it.\nfunc Do() {}"},
			{"coro.go", "package discoro\n// Done it is.\nfunc Do() {}"},
			{"coro.go", "package discoro\nfunc (c *Coro[T]) Send() {}"},
			{"coro.go", "package discoro\ntype Coro struct{}"},
			{"coro.go", "package discoro\ntype (\n// A thing.\nCoro struct{}\n)"},
			{"coro.go", "package discoro\nvar Default = 1"},
			{"coro.go", "package discoro\nconst (\nA = 1\n)"},
			{"coro.go", "package discoro\n//nolint:revive // reason\nfunc Do() {}"},
		},
		good: []sample{
			{"coro.go", "package discoro\n// Do does.\nfunc Do() {}\nfunc do() {}\nfunc (c *coro) Send() {}"},
			{"coro.go", "package discoro\n// A Coro runs.\ntype Coro struct{}\n// The kinds.\nconst (\nA = 1\nB = 2\n)"},
			{"coro.go", "package discoro\nvar (\n// ErrA comes back.\nErrA = 1\nErrB = 2 // comes back\n)"},
		},
	},
	{
		name:  "nothing is left for later",
		fix:   "do it now, or leave it out; plans are not in the tree",
		over:  func(s *source) bool { return path.Base(s.path) != "go.sum" },
		check: func(s *source) []finding { return matchLines(s, marks) },
		bad: []sample{
			{"coro.go", "package discoro // TO" + "DO: more"},
			{"README.md", "FIX" + "ME"},
			{".ci/run", "# X" + "XX"},
		},
		good: []sample{{".ci/run", "mktemp -d discoro.XXXX" + "XX"}},
	},
	{
		name:  "nobody sleeps",
		fix:   "wait for what you wait for; in a synctest bubble, with time.After",
		over:  func(s *source) bool { return s.file != nil && !strings.HasPrefix(s.path, "examples/") },
		check: checkSleeps,
		bad: []sample{
			{"coro_test.go", "package discoro\nimport \"time\"\nfunc f() { s := time.Sleep; s(1) }"},
			{"wire/conn.go", "package wire\nimport t \"time\"\nvar sleep = t.Sleep"},
		},
		good: []sample{{"coro_test.go", "package discoro\nimport \"time\"\nfunc f(c *Coro) { c.Sleep(time.Second) }"}},
	},
	{
		name:  "users are made to take few modules",
		fix:   "do without it; tools and comparisons have go.mod files of their own",
		over:  func(s *source) bool { return s.path == "go.mod" },
		check: checkRequirements,
		bad: []sample{
			{"go.mod", "module m\nrequire github.com/stretchr/testify v1.0.0"},
			{"go.mod", "module m\nrequire (\n\tgithub.com/hashicorp/yamux v0.1.2\n\tgoogle.golang.org/grpc v1.0.0 // why not\n)"},
			{"go.mod", "module m\nreplace github.com/hashicorp/yamux => ../yamux"},
			{"go.mod", "module m\ntool honnef.co/go/tools/cmd/staticcheck"},
		},
		good: []sample{
			{"go.mod", "module m\ngo 1.26.0\nrequire (\n\tgithub.com/hashicorp/yamux v0.1.2\n\tgithub.com/x448/float16 v0.8.4 // indirect\n)"},
		},
	},
	{
		name:  "a wait says what it waits for",
		fix:   "make calls with call.New, and give it a why, one of those that CoroState.State lists",
		over:  isLibrary,
		check: func(s *source) []finding { return matchLines(s, namelessWait) },
		bad: []sample{
			{"request.go", "package discoro\nfunc f() { k := &call.Call{} }"},
			{"request.go", "package discoro\nvar k = call.Call{}"},
			{"request.go", "package discoro\nvar k call.Call"},
			{"request.go", "package discoro\nvar k = new(call.Call)"},
			{"request.go", "package discoro\nvar k = call.New(\"\", c)"},
			{"internal/call/call.go", "package call\nfunc New(why string, of any) *Call { return &Call{of: of} }"},
			{"internal/call/call.go", "package call\nvar c = new(Call)"},
		},
		good: []sample{{"link.go", "package discoro\nvar k = call.New(waitRun, c)\ntype T struct { c *call.Call }"}},
	},
	{
		name:  "no folder of a developer's machine",
		fix:   "name files relative to the repository, or make them in t.TempDir",
		over:  func(*source) bool { return true },
		check: func(s *source) []finding { return matchLines(s, ownFolders) },
		bad: []sample{
			{"coro_test.go", "package discoro\nconst dir = \"/wo" + "rk/main\""},
			{"README.md", "cd /ho" + "me/me/discoro"},
			{".ci/run", "/ro" + "ot/go/bin/staticcheck"},
		},
		good: []sample{{"README.md", "https://example.com/wo" + "rk/x and ./net" + "wo" + "rk/y"}},
	},
}

// TestConventions holds every file of the repository to the rules above.
func TestConventions(t *testing.T) {
	t.Parallel()
	sources := readRepository(t)
	for _, c := range conventions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := 0
			for _, s := range sources {
				if !c.over(s) {
					continue
				}
				files++
				for _, f := range c.check(s) {
					t.Errorf("%s:%d: %s: %s", s.path, f.line, f.what, c.fix)
				}
			}
			if files == 0 {
				t.Error("the rule looked at no file")
			}
		})
	}
}

// TestConventionsCanFail shows that every rule finds what it is there for, and nothing else.
func TestConventionsCanFail(t *testing.T) {
	t.Parallel()
	for _, c := range conventions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if len(c.bad) == 0 || len(c.good) == 0 {
				t.Error("a rule needs sources that break it and sources that keep it")
			}
			for _, b := range c.bad {
				s := newSource(t, b.path, []byte(b.text))
				if !c.over(s) {
					t.Errorf("does not look at %s", b.path)
				} else if len(c.check(s)) == 0 {
					t.Errorf("finds nothing in %s:\n%s", b.path, b.text)
				}
			}
			for _, g := range c.good {
				s := newSource(t, g.path, []byte(g.text))
				if found := c.check(s); len(found) != 0 {
					t.Errorf("finds %v in %s:\n%s", found, g.path, g.text)
				}
			}
		})
	}
}

// TestGoStartersStart keeps goStarters from outliving the functions in it.
func TestGoStartersStart(t *testing.T) {
	t.Parallel()
	starters := map[place]bool{}
	for _, s := range readRepository(t) {
		if !isLibrary(s) {
			continue
		}
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				bare := *s
				bare.path, bare.file = "", &ast.File{Decls: []ast.Decl{fn}}
				starters[place{s.path, funcName(fn)}] = len(checkGoroutines(&bare)) > 0
			}
		}
	}
	for p := range goStarters {
		if !starters[p] {
			t.Errorf("%s of %s starts no goroutine: take it out of goStarters", p.fn, p.file)
		}
	}
}

// TestRaceDetectorIsOn keeps .ci/run from losing -race on its way to the test binaries.
func TestRaceDetectorIsOn(t *testing.T) {
	t.Parallel()
	if os.Getenv("CI") == "" {
		t.Log("outside CI tests may run without it")
		return
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build information in the test binary")
	}
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Errorf("built without -race; settings: %v", info.Settings)
	}
}

// readRepository reads every text file of this module, and the papers and scripts beside it.
func readRepository(t *testing.T) []*source {
	t.Helper()
	var sources []*source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case name == ".git" && !d.IsDir(): // in a worktree it is a file
			return nil
		case d.IsDir() && (name == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte{0}) { // not a program that somebody built here
			sources = append(sources, newSource(t, name, text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func newSource(t *testing.T, name string, text []byte) *source {
	t.Helper()
	s := &source{path: name, text: text, fset: token.NewFileSet()}
	if path.Ext(name) == ".go" {
		file, err := parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.file = file
	}
	return s
}

func (s *source) at(n ast.Node, format string, args ...any) finding {
	return finding{s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...)}
}

// dir is the directory of s; "." for the root.
func (s *source) dir() string { return path.Dir(s.path) }

// top is the first directory of s; "." for the root.
func (s *source) top() string {
	first, _, found := strings.Cut(s.path, "/")
	if !found {
		return "."
	}
	return first
}

// isShipped tells Go files that are not tests, in this module and not in a nested one.
func isShipped(s *source) bool {
	return s.file != nil && !strings.HasSuffix(s.path, "_test.go") && !slices.Contains([]string{"tools", "bench", ".ci"}, s.top())
}

// isLibrary tells shipped files that programs of others import.
func isLibrary(s *source) bool { return isShipped(s) && s.top() != "examples" }

func checkGoroutines(s *source) []finding {
	var found []finding
	for _, decl := range s.file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && goStarters[place{s.path, funcName(fn)}] != "" {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = append(found, s.at(n, "go statement"))
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" { // WaitGroup.Go, errgroup's Group.Go
					found = append(found, s.at(n, "call of Go, which starts a goroutine"))
				}
			}
			return true
		})
	}
	return found
}

// funcName is a function's name as goStarters has it: "start", "(*Runtime).start", "Runtime.start".
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
		return "(*" + typeName(star.X) + ")." + fn.Name.Name
	}
	return typeName(fn.Recv.List[0].Type) + "." + fn.Name.Name
}

// typeName is the name of a receiver's type, without its type parameters.
func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return typeName(t.X)
	case *ast.IndexExpr:
		return typeName(t.X)
	case *ast.IndexListExpr:
		return typeName(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

func checkMutexes(s *source) []finding {
	var found []finding
	check := func(n ast.Node, typ ast.Expr, comments ...*ast.CommentGroup) {
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		if !s.is(typ, "sync", "Mutex") && !s.is(typ, "sync", "RWMutex") {
			return
		}
		for _, c := range comments {
			if strings.Contains(c.Text(), "guards") {
				return
			}
		}
		found = append(found, s.at(n, "a mutex without a word on what it guards"))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, f := range n.Fields.List {
				check(f, f.Type, f.Doc, f.Comment)
			}
		case *ast.GenDecl:
			for _, spec := range n.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					check(v, v.Type, n.Doc, v.Doc, v.Comment)
				}
			}
		}
		return true
	})
	return found
}

// is reports whether e is the name from the package that is imported as importPath, whatever it is called here.
func (s *source) is(e ast.Expr, importPath, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return false
	}
	for _, imp := range s.file.Imports {
		if importOf(imp) != importPath {
			continue
		}
		if imp.Name != nil {
			return pkg.Name == imp.Name.Name
		}
		return pkg.Name == path.Base(importPath)
	}
	return false
}

func importOf(imp *ast.ImportSpec) string {
	p, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		return imp.Path.Value // what the parser lets through is quoted
	}
	return p
}

func checkOwnImports(s *source) []finding {
	row := s.dir()
	for row != "." && ownImports[row] == nil {
		row = path.Dir(row)
	}
	if row == "." && s.dir() != "." {
		return []finding{s.at(s.file.Name, "directory %s has no place among %v", s.dir(), slices.Sorted(maps.Keys(ownImports)))}
	}
	allowed := ownImports[row]
	var found []finding
	for _, imp := range s.file.Imports {
		rest, own := strings.CutPrefix(importOf(imp)+"/", modulePath+"/")
		if !own {
			continue
		}
		if dir := path.Clean(rest); !slices.Contains(allowed, dir) {
			found = append(found, s.at(imp, "%s imports %s of this module; it may import %v", row, dir, allowed))
		}
	}
	return found
}

// checkPure finds goroutines, clocks, sockets and files.
func checkPure(s *source) []finding {
	if impure[s.path] != "" {
		return nil
	}
	var found []finding
	for _, imp := range s.file.Imports {
		if p := importOf(imp); slices.Contains([]string{"os", "os/exec", "log/slog", "syscall"}, p) {
			found = append(found, s.at(imp, "import of %s", p))
		}
	}
	clocks := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}
	sockets := []string{"Dial", "DialTimeout", "DialTCP", "DialUDP", "Listen", "ListenTCP", "ListenUDP", "ListenPacket", "Dialer", "ListenConfig"}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, s.at(n, "go statement"))
		case *ast.SelectorExpr:
			if slices.Contains(clocks, n.Sel.Name) && s.is(n, "time", n.Sel.Name) || slices.Contains(sockets, n.Sel.Name) && s.is(n, "net", n.Sel.Name) {
				found = append(found, s.at(n, "use of %s", n.Sel.Name))
			}
		}
		return true
	})
	return found
}

func checkHomes(s *source) []finding {
	var found []finding
	for _, imp := range s.file.Imports {
		p := importOf(imp)
		for module, places := range homes {
			if !strings.HasPrefix(p+"/", module+"/") {
				continue
			}
			if !slices.ContainsFunc(places, func(home string) bool {
				return s.path == home || strings.HasSuffix(home, "/") && strings.HasPrefix(s.path, home)
			}) {
				found = append(found, s.at(imp, "import of %s, whose places are %v", p, places))
			}
		}
		first, _, _ := strings.Cut(p, "/")
		standard := !strings.Contains(first, ".")
		if s.top() == "wire" && !standard && !strings.HasPrefix(p, "github.com/fxamacker/cbor/") && !strings.HasPrefix(p, modulePath) {
			found = append(found, s.at(imp, "import of %s in wire", p))
		}
	}
	return found
}

func checkLength(s *source) []finding {
	if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
		return []finding{{n, fmt.Sprintf("%d lines, more than %d", n, maxLines)}}
	}
	return nil
}

func checkDocs(s *source) []finding {
	var found []finding
	check := func(name *ast.Ident, own *ast.CommentGroup, others ...*ast.CommentGroup) {
		switch {
		case !name.IsExported():
		case own.Text() != "":
			if !beginsWith(own.Text(), name.Name) {
				found = append(found, s.at(name, "the comment of %s does not begin with its name", name.Name))
			}
		case !slices.ContainsFunc(others, func(c *ast.CommentGroup) bool { return c.Text() != "" }):
			found = append(found, s.at(name, "exported %s has no comment", name.Name))
		}
	}
	for _, decl := range s.file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || ast.IsExported(typeName(decl.Recv.List[0].Type)) {
				check(decl.Name, decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if decl.Lparen.IsValid() {
						check(spec.Name, spec.Doc, spec.Comment)
					} else {
						check(spec.Name, decl.Doc)
					}
				case *ast.ValueSpec:
					if decl.Lparen.IsValid() {
						check(spec.Names[0], spec.Doc, spec.Comment, decl.Doc) // one comment may stand for a list of kinds
					} else {
						check(spec.Names[0], decl.Doc)
					}
				}
			}
		}
	}
	return found
}

// beginsWith reports whether a comment's first word is name, but for an article.
func beginsWith(comment, name string) bool {
	first, rest, _ := strings.Cut(comment, " ")
	if first == "A" || first == "An" || first == "The" {
		comment = rest
	}
	rest, ok := strings.CutPrefix(comment, name)
	return ok && rest != "" && !isWordByte(rest[0])
}

func isWordByte(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

func checkSleeps(s *source) []finding {
	var found []finding
	ast.Inspect(s.file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && s.is(e, "time", "Sleep") {
			found = append(found, s.at(n, "time.Sleep"))
		}
		return true
	})
	return found
}

// checkRequirements reads a go.mod as go mod tidy writes it.
func checkRequirements(s *source) []finding {
	var found []finding
	block := ""
	for i, line := range strings.Split(string(s.text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "//"):
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = slices.Insert(words, 0, block)
		}
		switch words[0] {
		case "module", "go", "toolchain":
		case "require":
			if !strings.Contains(line, "// indirect") && !slices.Contains(rootRequirements, words[1]) {
				found = append(found, finding{i + 1, "direct requirement of " + words[1]})
			}
		default:
			found = append(found, finding{i + 1, words[0] + " in the module that users require"})
		}
	}
	return found
}

func matchLines(s *source, p pattern) []finding {
	var found []finding
	for i, line := range strings.Split(string(s.text), "\n") {
		if !slices.ContainsFunc(p.words, func(w string) bool { return strings.Contains(line, w) }) {
			continue
		}
		if m := p.re.FindString(line); m != "" {
			found = append(found, finding{i + 1, fmt.Sprintf("%q", strings.TrimSpace(m))})
		}
	}
	return found
}
