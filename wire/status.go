package wire

// What a [Status] tells. The numbers are asyncoro's.
const (
	StatusNodeDiscovered       = 1  // a node is known, and will be used if it fits
	StatusNodeInitialized      = 2  // the first server of a node is about to be usable
	StatusNodeClosed           = 3  // a node serves the computation no longer
	StatusNodeIgnore           = 4  // a node does not fit, or refused; Reason says why
	StatusNodeDisconnected     = 5  // the link to a node broke
	StatusServerDiscovered     = 11 // a server exists and is being set up
	StatusServerInitialized    = 12 // a server can be used
	StatusServerClosed         = 13 // a server serves the computation no longer
	StatusServerIgnore         = 14 // a server could not be set up; Reason says why
	StatusServerDisconnected   = 15 // a server was lost, with what it ran
	StatusCoroCreated          = 20 // a run has started: a client makes this one itself, of a Started
	StatusComputationScheduled = 23 // the computation has become active
	StatusComputationClosed    = 25 // the computation is over: its last Status
)
