package discoro_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The documents are held to the code here: what README.md and the files in docs/ show compiles, the
// options and names in them exist, and links lead somewhere. readme_test.go runs README's program.

// maxDocLines is how long README and each file of docs/ may be.
const maxDocLines = 150

// document is a file of Markdown, as far as these tests need it.
type document struct {
	path    string
	length  int
	blocks  []docText       // code between fences
	spans   []docText       // code between backquotes
	links   []docText       // what links point to
	anchors map[string]bool // of headings, as GitHub makes them
	rows    [][]string      // cells of tables
}

// docText is a piece of a document.
type docText struct {
	line       int
	lang, text string
}

var (
	docSpan    = regexp.MustCompile("`([^`]+)`")
	docLink    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`^#{1,6} (.*)$`)
	docFile    = regexp.MustCompile(`^// (\S+\.go)\n`)
	docName    = regexp.MustCompile(`^\*?(?:([a-z]\w*)\.)?([A-Z]\w*)(?:\.([A-Z]\w*))?(?:\(.*\))?$`)
	docExample = regexp.MustCompile(`(?m)^func (Example\w*)\(`)
)

// parseDocument reads Markdown.
func parseDocument(name, text string) *document {
	d := &document{path: name, anchors: map[string]bool{}}
	var block *docText
	for line := range strings.Lines(text) {
		d.length++
		line = strings.TrimRight(line, "\n")
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && block == nil:
			block = &docText{line: d.length, lang: lang}
		case fence:
			d.blocks = append(d.blocks, *block)
			block = nil
		case block != nil:
			block.text += line + "\n"
		default:
			d.parseLine(line)
		}
	}
	return d
}

// parseLine reads a line that is not in a block of code.
func (d *document) parseLine(line string) {
	if h := docHeading.FindStringSubmatch(line); h != nil {
		anchor := anchorOf(h[1])
		for n := 1; d.anchors[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", anchorOf(h[1]), n)
		}
		d.anchors[anchor] = true
	}
	if strings.HasPrefix(line, "| ") {
		d.rows = append(d.rows, strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "|"), "|"))
	}
	for _, m := range docSpan.FindAllStringSubmatch(strings.ReplaceAll(line, `\|`, "|"), -1) {
		d.spans = append(d.spans, docText{line: d.length, text: m[1]})
	}
	for _, m := range docLink.FindAllStringSubmatch(docSpan.ReplaceAllString(line, "code"), -1) {
		d.links = append(d.links, docText{line: d.length, text: m[1]})
	}
}

// anchorOf returns the anchor that GitHub gives to a heading.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, docLink.ReplaceAllString(heading, "$1"))
}

// documents returns the repository's Markdown, by path.
func documents(t *testing.T) map[string]*document {
	t.Helper()
	docs := map[string]*document{}
	for _, s := range readRepository(t) {
		if path.Ext(s.path) == ".md" {
			docs[s.path] = parseDocument(s.path, string(s.text))
		}
	}
	return docs
}

// userDocuments returns those that are checked most closely: what users read.
func userDocuments(t *testing.T) []*document {
	t.Helper()
	var docs []*document
	for name, d := range documents(t) {
		if path.Dir(name) == "docs" || name == "README.md" || name == "CONTRIBUTING.md" || name == "SECURITY.md" {
			docs = append(docs, d)
		}
	}
	slices.SortFunc(docs, func(a, b *document) int { return strings.Compare(a.path, b.path) })
	return docs
}

// TestDocLinks follows every relative link in every document, to the heading.
func TestDocLinks(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	for _, d := range docs {
		for _, l := range d.links {
			if strings.Contains(l.text, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(l.text, "#")
			target := d.path
			if file != "" {
				target = path.Join(path.Dir(d.path), file)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s:%d: %s: there is no file %s", d.path, l.line, l.text, target)
			} else if to := docs[target]; anchor != "" && (to == nil || !to.anchors[anchor]) {
				t.Errorf("%s:%d: %s: there is no such heading; there are %v", d.path, l.line, l.text, headings(to))
			}
		}
	}
}

func headings(d *document) []string {
	if d == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(d.anchors))
}

// TestDocsCanBeFound has README lead to every page, and keeps pages short.
func TestDocsCanBeFound(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	for name, d := range docs {
		if path.Dir(name) != "docs" && name != "README.md" {
			continue
		}
		if d.length > maxDocLines {
			t.Errorf("%s has %d lines, more than %d: move a part that has a name of its own", name, d.length, maxDocLines)
		}
		if name != "README.md" && !slices.ContainsFunc(docs["README.md"].links, func(l docText) bool { return l.text == name }) {
			t.Errorf("README.md has no link to %s", name)
		}
	}
}

// TestDocCode builds all Go code in the documents, as a module of its own. A block that begins with a
// comment such as "// node/main.go" is that file; other blocks are programs, declarations or statements.
func TestDocCode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range docModule(t) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("code in the documents: %v\n%s", err, out)
	}
}

// docModule returns the files of the module that the documents' code makes.
func docModule(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(mod, []byte("\n")) // without the line of the module's name
	files["go.mod"] = fmt.Sprintf("module example.com/yours\n%s\nrequire %s v0.0.0\nreplace %[2]s => %q\n", rest, modulePath, root)
	files["go.sum"] = string(sum)
	for _, d := range userDocuments(t) {
		for _, b := range d.blocks {
			if b.lang != "go" {
				continue
			}
			name, text := docCode(t, d, b)
			if _, taken := files[name]; taken {
				t.Errorf("%s:%d: there is another %s", d.path, b.line, name)
			}
			files[name] = text
		}
	}
	return files
}

// docPrelude is what statements in the documents may use without declaring it.
const docPrelude = `
var greet = discoro.Register("greet", func(_ *discoro.Coro, name string) (string, error) { return "hello " + name, nil })

func _(ctx context.Context, rt *discoro.Runtime, comp *discoro.Computation, c, counter, worker *discoro.Coro, client, server discoro.Location) {
`

// docCode makes a file of a block of Go: its name and its text. Compilers name the document in what they say.
func docCode(t *testing.T, d *document, b docText) (name, text string) {
	t.Helper()
	if m := docFile.FindStringSubmatch(b.text); m != nil {
		return m[1], b.text
	}
	at := fmt.Sprintf("%s_%d", strings.TrimSuffix(path.Base(d.path), ".md"), b.line)
	name = strings.ToLower(strings.ReplaceAll(at, "-", "_")) + "/main.go"
	position := fmt.Sprintf("//line %s:%d\n", d.path, b.line+1)
	if strings.HasPrefix(b.text, "package ") {
		return name, position + b.text
	}
	if _, err := parser.ParseFile(token.NewFileSet(), name, "package p\n"+b.text, 0); err == nil {
		return name, "package p\n" + docImports(b.text) + position + b.text
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, "package p; func _() {\n"+b.text+"}", 0)
	if err != nil {
		t.Errorf("%s:%d: neither a file, nor declarations, nor statements: %v", d.path, b.line, err)
		return name, "package p\n"
	}
	text = docPrelude + position + b.text + "_ = []any{" + strings.Join(declaredIn(file), ", ") + "}\n}\n"
	return name, "package p\n" + docImports(text) + text
}

// declaredIn returns the variables that the statements of a file's only function declare.
func declaredIn(file *ast.File) []string {
	var names []string
	fn, _ := file.Decls[0].(*ast.FuncDecl)
	for _, stmt := range fn.Body.List {
		switch s := stmt.(type) {
		case *ast.AssignStmt:
			for _, lhs := range s.Lhs {
				if id, ok := lhs.(*ast.Ident); ok && s.Tok == token.DEFINE && id.Name != "_" {
					names = append(names, id.Name)
				}
			}
		case *ast.DeclStmt:
			decl, _ := s.Decl.(*ast.GenDecl)
			for _, spec := range decl.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					for _, id := range v.Names {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

// docImports returns the imports that a text needs, of those that documents use.
func docImports(text string) string {
	var b strings.Builder
	for _, pkg := range []string{
		"context", "errors", "fmt", "os", "path/filepath", "slices", "strings", "testing", "time", modulePath, modulePath + "/discorotest",
	} {
		if regexp.MustCompile(`\b` + path.Base(pkg) + `\.`).MatchString(text) {
			fmt.Fprintf(&b, "import %q\n", pkg)
		}
	}
	return b.String()
}
