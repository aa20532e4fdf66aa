package wire

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The tags of values inside an interface whose type CBOR itself does not show. They are part of the
// protocol. The heads of all of them take two bytes.
const (
	tagNamed    = 0xe0 // [name of the type, value]
	tagError    = 0xe1 // an ErrorValue
	tagFirst    = tagInt8
	tagInt8     = 0xe2
	tagInt16    = 0xe3
	tagInt32    = 0xe4
	tagInt64    = 0xe5
	tagUint     = 0xe6
	tagUint8    = 0xe7
	tagUint16   = 0xe8
	tagUint32   = 0xe9
	tagUint64   = 0xea
	tagTime     = 0xeb
	tagDuration = 0xec
	tagHandles  = 0xf8 // of the first handle type; those of the others follow
)

// maxHandleTypes is the number of tags for handles.
const maxHandleTypes = 0x100 - tagHandles

// taggedTypes are the types of the tags from tagFirst on.
var taggedTypes = []reflect.Type{
	reflect.TypeFor[int8](),
	reflect.TypeFor[int16](),
	reflect.TypeFor[int32](),
	reflect.TypeFor[int64](),
	reflect.TypeFor[uint](),
	reflect.TypeFor[uint8](),
	reflect.TypeFor[uint16](),
	reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](),
	reflect.TypeFor[time.Time](),
	reflect.TypeFor[time.Duration](),
}

// taggedSizes are the sizes of values of taggedTypes.
var taggedSizes = func() (sizes []int64) {
	for _, t := range taggedTypes {
		sizes = append(sizes, int64(t.Size()))
	}
	return sizes
}()

// Types that the codec treats specially.
var (
	anyType      = reflect.TypeFor[any]()
	errorType    = reflect.TypeFor[error]()
	boolType     = reflect.TypeFor[bool]()
	intType      = reflect.TypeFor[int]()
	float32Type  = reflect.TypeFor[float32]()
	float64Type  = reflect.TypeFor[float64]()
	stringType   = reflect.TypeFor[string]()
	bytesType    = reflect.TypeFor[[]byte]()
	timeType     = reflect.TypeFor[time.Time]()
	anySliceType = reflect.TypeFor[[]any]()
	anyMapType   = reflect.TypeFor[map[string]any]()
)

// Sizes of these types that count.
var (
	intBits    = intType.Bits()
	anySize    = int64(anyType.Size())
	stringSize = int64(stringType.Size())
)

// builtinTypes are the types, apart from handles, that have a name inside interfaces without being
// registered.
var builtinTypes = append([]reflect.Type{
	anyType, errorType, boolType, intType, float32Type, float64Type, stringType, bytesType, reflect.TypeFor[struct{}](),
}, taggedTypes...)

// builtinName returns the name of a type of builtinTypes.
func builtinName(t reflect.Type) string {
	switch t {
	case anyType:
		return "any"
	case bytesType:
		return "[]byte"
	case reflect.TypeFor[struct{}]():
		return "struct{}"
	}
	return t.String()
}

// Bounds of names that come from a peer: each new name makes types that are never freed.
const (
	maxTypeName    = 256  // bytes of a name
	maxTypeLevels  = 8    // of slices and maps inside one another, []byte included
	maxBuiltTypes  = 1024 // unnamed types that data has named
	maxNamedLength = 100  // bytes of a registered name
)

// typeEntry is a type that travels in interfaces.
type typeEntry struct {
	name        string
	typ         reflect.Type
	plan        *valuePlan
	handle      *handle   // nil for other types
	named       bool      // prefix has the name of the type, and the value is the second element of an array
	prefix      []byte    // the bytes before a value
	prefixItems int       // data items in prefix
	flat        *flatPlan // of typ, or of what typ points to; nil: values take the slow path
}

// namedLead is how the prefix of a named type begins. Its namedItems items are the tag, the array
// and the name.
const (
	namedLead  = "\xd8\xe0\x82"
	namedItems = 3
)

// newTypeEntry returns the entry of t, which can travel.
func newTypeEntry(name string, t reflect.Type, c *Codec) (*typeEntry, error) {
	plan, err := c.planOf(t)
	if err != nil {
		return nil, err
	}
	e := &typeEntry{name: name, typ: t, plan: plan, handle: c.handles[t]}
	for i, tagged := range taggedTypes {
		if t == tagged {
			e.prefix, e.prefixItems = appendHead(nil, majorTag, uint64(tagFirst+i)), 1
			return e, nil
		}
	}
	e.named, e.prefixItems = true, namedItems
	e.prefix = append(appendHead([]byte(namedLead), majorText, uint64(len(name))), name...)
	return e, e.setFlat(c)
}

// setFlat finds the fast path for values of the type of e.
func (e *typeEntry) setFlat(c *Codec) error {
	flat, memory := e.plan.flat, e.plan.size
	if e.typ.Kind() == reflect.Pointer && e.handle == nil {
		elem, err := c.planOf(e.typ.Elem())
		if err != nil {
			return err
		}
		flat, memory = elem.flat, memory+elem.size
	}
	if flat != nil && flat.fits(&c.limits, memory) {
		e.flat = flat
	}
	return nil
}

// typeTable holds the types that travel in interfaces: those built in, those registered, and the
// slices, maps and pointers of them that have been met. It is immutable once others can find it.
type typeTable struct {
	byType     map[reflect.Type]*typeEntry
	byName     map[string]*typeEntry
	registered map[reflect.Type]string // without the pointers to them
	built      int                     // how many types data has named
	index      typeIndex               // of byType and byName
}

// newTypeTable returns the table of the types built in.
func newTypeTable(c *Codec) *typeTable {
	t := &typeTable{
		byType:     map[reflect.Type]*typeEntry{},
		byName:     map[string]*typeEntry{},
		registered: map[reflect.Type]string{},
	}
	for _, builtin := range builtinTypes {
		name := builtinName(builtin)
		t.mustAdd(name, builtin, c)
		if builtin.Kind() != reflect.Interface {
			t.mustAdd("*"+name, reflect.PointerTo(builtin), c)
		}
	}
	for _, h := range c.hooks.Handles {
		t.mustAdd(h.Type.String(), h.Type, c)
	}
	return t
}

func (t *typeTable) mustAdd(name string, typ reflect.Type, c *Codec) {
	entry, err := newTypeEntry(name, typ, c)
	if err != nil {
		panic(err) //nolint:forbidigo // a constant type
	}
	t.add(entry)
}

// add adds a type to a table that nobody else can find yet.
func (t *typeTable) add(entry *typeEntry) {
	t.byType[entry.typ], t.byName[entry.name] = entry, entry
	*t.index.ofType(entry.typ), *t.index.ofName([]byte(entry.name)) = entry, entry
}

// entryOf returns the entry of typ; nil if there is none.
func (t *typeTable) entryOf(typ reflect.Type) *typeEntry {
	if at := *t.index.ofType(typ); at != nil && at.typ == typ {
		return at
	}
	return t.byType[typ]
}

// entryCalled returns the entry of the type with that name; nil if there is none.
func (t *typeTable) entryCalled(name []byte) *typeEntry {
	if at := *t.index.ofName(name); at != nil && at.name == string(name) {
		return at
	}
	return t.byName[string(name)]
}

// typeIndex finds most entries faster than a map. If two entries have the same slot, it holds the
// one that was added later.
type typeIndex struct {
	byType, byName [128]*typeEntry
}

// ofType returns the slot of a type. It depends on the address of the type, which never changes.
func (x *typeIndex) ofType(t reflect.Type) **typeEntry {
	addr := reflect.ValueOf(t).Pointer()
	return &x.byType[(addr>>5^addr>>12)%128]
}

// ofName returns the slot of a name.
func (x *typeIndex) ofName(name []byte) **typeEntry {
	n := len(name)
	if n == 0 {
		return &x.byName[0]
	}
	return &x.byName[(n+5*int(name[n-1])+17*int(name[n/2]))%128]
}

// clone returns a copy that can be added to.
func (t *typeTable) clone() *typeTable {
	return &typeTable{
		byType:     maps.Clone(t.byType),
		byName:     maps.Clone(t.byName),
		registered: maps.Clone(t.registered),
		built:      t.built,
		index:      t.index,
	}
}

// withRegistered returns a table in which a type and pointers to it are registered as well.
func (t *typeTable) withRegistered(entry, pointer *typeEntry) (*typeTable, error) {
	name, typ := entry.name, entry.typ
	if other, ok := t.registered[typ]; ok {
		if other == name {
			return t, nil
		}
		return nil, fmt.Errorf("register type %q: %v is registered as %q", name, typ, other)
	}
	if taken := t.byName[name]; taken != nil {
		return nil, fmt.Errorf("register type %q for %v: the name is taken by %v", name, typ, taken.typ)
	}
	n := t.clone()
	n.registered[typ] = name
	n.add(entry)
	n.add(pointer)
	return n, nil
}

// registrable returns why a type cannot be registered under a name, apart from what is registered
// already.
func registrable(name string, t reflect.Type) error {
	switch {
	case t == nil:
		return fmt.Errorf("register type %q: no type", name)
	case !validTypeName(name):
		return fmt.Errorf("register type %q: a name has 1 to %d printable characters, and none of []*{}",
			name, maxNamedLength)
	case t.Kind() == reflect.Interface:
		return fmt.Errorf("register type %q: %v is an interface; register the types that it holds", name, t)
	case t.Kind() == reflect.Pointer:
		return fmt.Errorf("register type %q: register %v, and %v travels too", name, t.Elem(), t)
	}
	for _, builtin := range builtinTypes {
		if builtinName(builtin) == name || builtin == t {
			return fmt.Errorf("register type %q for %v: built in", name, t)
		}
	}
	return nil
}

// validTypeName reports whether name can be a part of the names of other types.
func validTypeName(name string) bool {
	return name != "" && len(name) <= maxNamedLength && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune("[]*{}", r) })
}

// nameOf returns the name under which values of typ travel; empty if they cannot.
func (t *typeTable) nameOf(typ reflect.Type) string {
	name := t.nameOfAny(typ)
	if !withinBounds(name) {
		return ""
	}
	return name
}

// withinBounds reports whether peers accept the name of a type. It depends on nothing but the name,
// so that all peers agree.
func withinBounds(name string) bool {
	return len(name) <= maxTypeName && strings.Count(name, "[") <= maxTypeLevels
}

// nameOfAny is nameOf for names of any length.
func (t *typeTable) nameOfAny(typ reflect.Type) string {
	if entry := t.byType[typ]; entry != nil {
		return entry.name
	}
	if typ.Name() != "" {
		return ""
	}
	switch typ.Kind() { //nolint:exhaustive // other types without a name do not travel
	case reflect.Slice:
		if elem := t.nameOfAny(typ.Elem()); elem != "" {
			return "[]" + elem
		}
	case reflect.Map:
		key, elem := t.nameOfAny(typ.Key()), t.nameOfAny(typ.Elem())
		if key != "" && elem != "" {
			return "map[" + key + "]" + elem
		}
	}
	return ""
}

// culprit returns the type in typ that keeps it from having a name, such as the element of a slice
// or map.
func (t *typeTable) culprit(typ reflect.Type) reflect.Type {
	for typ.Name() == "" {
		inner := typ
		switch typ.Kind() { //nolint:exhaustive // other types hold none
		case reflect.Map:
			inner = typ.Key()
			if t.nameOf(inner) != "" {
				inner = typ.Elem()
			}
		case reflect.Slice, reflect.Pointer:
			inner = typ.Elem()
		}
		if inner == typ || t.nameOf(inner) != "" {
			break
		}
		typ = inner
	}
	return typ
}

// typeOf returns the entry of t, a type that was met in a value and is not in the table.
func (c *Codec) typeOf(t reflect.Type) (*typeEntry, error) {
	table := c.types.Load()
	name := table.nameOf(t)
	if name == "" {
		if err := c.CanTravel(t); err != nil {
			return nil, err // registering it would not help
		}
		return nil, unknownType(t, table.culprit(t))
	}
	if err := c.learn(name, t, 0); err != nil {
		return nil, err
	}
	return c.types.Load().byType[t], nil
}

// learn adds a type that was met. The number of those that data has named, which built counts, is
// bounded.
func (c *Codec) learn(name string, t reflect.Type, built int) error {
	entry, err := newTypeEntry(name, t, c)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	table := c.types.Load()
	if table.byType[t] != nil {
		return nil
	}
	if table.built+built > maxBuiltTypes {
		return fmt.Errorf("%w: more than %d types named in data", ErrValueSize, maxBuiltTypes)
	}
	n := table.clone()
	n.built += built
	n.add(entry)
	c.types.Store(n)
	return nil
}

// find returns the entry of the type that has this name in data.
func (t *typeTable) find(name []byte, c *Codec) (*typeEntry, error) {
	if entry := t.entryCalled(name); entry != nil {
		return entry, nil
	}
	if !withinBounds(string(name)) {
		return nil, fmt.Errorf("%w: a name of %d bytes, or of more than %d slices and maps",
			ErrTypeUnknown, len(name), maxTypeLevels)
	}
	typ := t.parse(string(name))
	if typ == nil {
		return nil, unknownName(string(name))
	}
	if err := c.learn(string(name), typ, 1); err != nil {
		return nil, err
	}
	return c.types.Load().byType[typ], nil
}

// parse returns the type with the name s; nil if there is none. Registered names have no characters
// that could end "[]" or the key of a map too early.
func (t *typeTable) parse(s string) reflect.Type {
	if entry := t.byName[s]; entry != nil {
		return entry.typ
	}
	if rest, ok := strings.CutPrefix(s, "[]"); ok {
		if elem := t.parse(rest); elem != nil {
			return reflect.SliceOf(elem)
		}
	}
	if rest, ok := strings.CutPrefix(s, "map["); ok {
		name, rest, _ := strings.Cut(rest, "]")
		key, elem := t.byName[name], t.parse(rest)
		if key != nil && elem != nil && key.typ.Comparable() {
			return reflect.MapOf(key.typ, elem)
		}
	}
	return nil
}
