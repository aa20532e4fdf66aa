package wire

// The kinds of frames about channels. A channel is named by its key in the runtime which owns it.
const (
	KindSubscribe      Kind = 60 // subscribes a coroutine of the sender's to a channel of the receiver's
	KindUnsubscribe    Kind = 61 // takes that back
	KindPublish        Kind = 62 // a message for all the subscribers
	KindPublishDeliver Kind = 63 // likewise, answered with how many mailboxes it is in
	KindCloseChannel   Kind = 64 // closes a channel of the receiver's
	KindEnroll         Kind = 65 // asks for the receiver's coroutine to be subscribed to a channel anywhere
	KindDropped        Kind = 66 // a subscription of the receiver's coroutine is over
	KindLocateChannel  Kind = 67 // asks for a channel by its registered name
)

// Subscribe subscribes coroutine Coro of the sender's runtime.
type Subscribe struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Coro    uint64
}

// Unsubscribe takes Subscribe back. Call is 0 where no answer is wanted.
type Unsubscribe struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Coro    uint64
}

// Publish is a message for all the subscribers. Where Call is not 0 it is answered when the message, and so all before
// it, wait for nothing at the owner any more.
type Publish struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	Body    []byte `cbor:"-"` // behind the array
}

// PublishDeliver is a message for all the subscribers, once there are N. It is answered with the number of mailboxes that it is
// in.
type PublishDeliver struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
	N       int
	Body    []byte `cbor:"-"` // behind the array
}

// CloseChannel closes a channel.
type CloseChannel struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Channel uint64
}

// Enroll asks the receiver to subscribe its coroutine Coro to Channel, or with Off to unsubscribe it. Channel may be one of any
// runtime.
type Enroll struct {
	_       struct{} `cbor:",toarray"`
	Call    uint64
	Coro    uint64
	Off     bool
	Channel HandleValue
}

// Dropped says that coroutine Coro is not subscribed any more to a channel of the sender's, and why. With Coro 0 the
// receiver has published to a channel that is closed, or never was.
type Dropped struct {
	_       struct{} `cbor:",toarray"`
	Channel uint64
	Coro    uint64
	Err     *Failure
}

// LocateChannel asks for the channel registered under Name; the answer holds a HandleValue.
type LocateChannel struct {
	_    struct{} `cbor:",toarray"`
	Call uint64
	Name string
}

// Kind of a Subscribe.
func (*Subscribe) Kind() Kind { return KindSubscribe }

// Kind of an Unsubscribe.
func (*Unsubscribe) Kind() Kind { return KindUnsubscribe }

// Kind of a Publish.
func (*Publish) Kind() Kind { return KindPublish }

// Kind of a PublishDeliver.
func (*PublishDeliver) Kind() Kind { return KindPublishDeliver }

// Kind of a CloseChannel.
func (*CloseChannel) Kind() Kind { return KindCloseChannel }

// Kind of an Enroll.
func (*Enroll) Kind() Kind { return KindEnroll }

// Kind of a Dropped.
func (*Dropped) Kind() Kind { return KindDropped }

// Kind of a LocateChannel.
func (*LocateChannel) Kind() Kind { return KindLocateChannel }

// newChannelFrame returns an empty frame of kind k, nil when it is none about channels.
func newChannelFrame(k Kind) Frame {
	switch k { //nolint:exhaustive // the others are elsewhere
	case KindSubscribe:
		return &Subscribe{}
	case KindUnsubscribe:
		return &Unsubscribe{}
	case KindPublish:
		return &Publish{}
	case KindPublishDeliver:
		return &PublishDeliver{}
	case KindCloseChannel:
		return &CloseChannel{}
	case KindEnroll:
		return &Enroll{}
	case KindDropped:
		return &Dropped{}
	case KindLocateChannel:
		return &LocateChannel{}
	}
	return nil
}
