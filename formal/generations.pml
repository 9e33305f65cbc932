/*
 * One VM, two hosts, one storage service, two control nodes: start, fence, live migration, power-off and recovery, with whatever may
 * break breaking between any two steps. What each transition is in the code, what is left out, and how to run it: README.md here.
 *
 * Checked: at every instant at most one incarnation can write; none writes after a newer one did; none goes on with memory that is
 * older than the disk; what the record does not name is not granted; generations only grow; a committed stop stays
 * stopped; nothing is ever stuck; and once nothing breaks any more, the VM comes to be what its owner wants.
 *
 * A guard is what `WITHOUT_...` takes away. The check fails without any one of them (generations.spin.test.ts).
 */

/* ---- Bounds, and guards to be taken away: the program reads them from its environment, so that one serves all searches ---- */

#ifndef GENS
#define GENS 4			/* generations: one for each start, each migration, and each thing that breaks */
#endif

hidden byte TERMS;		/* leaders elected, the first included */
hidden byte CALM;		/* whether all trouble may end before its time: progress is asked for from there on */
hidden byte ONLY_WRITERS;	/* whether the assertions about grants are left out */

/* Guards that are taken away: each is 1 where it is. */
#define EVERY_GUARD(each) \
	each(WITHOUT_ASKING_THE_SOURCE_AGAIN) \
	each(WITHOUT_A_COMPLETE_DESTINATION) \
	each(WITHOUT_CHECK_WHEN_RESTORING) \
	each(WITHOUT_COMMIT_BEFORE_CONT) \
	each(WITHOUT_CONTINUING_AFTER_AN_ERROR) \
	each(WITHOUT_DOUBTING_A_SILENT_SOURCE) \
	each(WITHOUT_ELECTION_COMPARE) \
	each(WITHOUT_ENDING_WHAT_IS_STALE) \
	each(WITHOUT_FENCE_BEFORE_CONT) \
	each(WITHOUT_FENCE_BEFORE_GRANT) \
	each(WITHOUT_FENCE_BEFORE_STOPPED) \
	each(WITHOUT_FLOOR) \
	each(WITHOUT_GIVING_A_MIGRATION_UP) \
	each(WITHOUT_GIVING_UP_AN_EMPTY_ARRIVAL) \
	each(WITHOUT_HARD_STOP_ADMITTING_NOTHING) \
	each(WITHOUT_KNOWING_THE_RECEIVER) \
	each(WITHOUT_NEW_GENERATION) \
	each(WITHOUT_READING_BEFORE_GRANTING) \
	each(WITHOUT_RESTORING) \
	each(WITHOUT_REVISION_COMPARE) \
	each(WITHOUT_REVOKED_AFTER_RESTART) \
	each(WITHOUT_REVOKED_REMEMBERED) \
	each(WITHOUT_REVOKING_THE_DESTINATION) \
	each(WITHOUT_THE_SOURCES_WORD)

#define DECLARED(name)	hidden byte name;
EVERY_GUARD(DECLARED)

c_code {
	\#include <stdlib.h>
	static int setting(const char *name, int otherwise)
	{
		const char *value = getenv(name);
		return value == NULL ? otherwise : atoi(value);
	}
}
#define TAKEN(name)	name = setting(#name, 0);

inline readSettings() {
	c_code {
		TERMS = setting("TERMS", 2);
		CALM = setting("CALM", 1);
		ONLY_WRITERS = setting("ONLY_WRITERS", 0);
		now.breaks = setting("BREAKS", 1);
		now.lates = setting("LATE", 1);
		now.migrations = setting("MIGRATIONS", 1);
		now.stops = setting("STOPS", 0);
		EVERY_GUARD(TAKEN)
	}
}

/* ---- Words ---- */

/* Phases of the record: src/core/model/vm.ts. STOPPING is its mode `hard`: the other mode fences nothing. */
#define STOPPED		0
#define STARTING	1
#define RUNNING		2
#define STOPPING	3
#define MIGRATING	4
#define SWITCHING	5
#define UNWINDING	6

/* Orders: the steps of src/core/plan/vm/steps.ts. */
#define NOTHING		0
#define FENCE		1
#define GRANT		2
#define REVOKE		3
#define LAUNCH		4
#define LAUNCH_INCOMING	5
#define CONT		6
#define END		7
#define SEND		8	/* `listen` and `send` */
#define CANCEL		9

/* QEMU's run states, as far as the protocol tells them apart. */
#define GONE		0	/* no process */
#define PRELAUNCH	1
#define INMIGRATE	2
#define AUTOSTART	3	/* `inmigrate`, and was continued: it runs as soon as it is complete */
#define COMPLETE	4	/* a destination that holds everything and was not continued yet: QMP says `paused` */
#define RUNS		5
#define IO_ERROR	6
#define POSTMIGRATE	7

/* The storage service since its start. */
#define UNREAD		0	/* etcd was not read yet */
#define READ		1	/* etcd was read; nothing was done about it */
#define RESTORING	2	/* what etcd does not admit is gone; what it admits is not all there yet */
#define SERVING		3

/* ---- State ---- */

/* The record in etcd. `cur` is the current generation, `oth` the other one of a migration, 0 where there is none. */
typedef Record {
	unsigned phase : 3;
	unsigned gen : 3;
	unsigned cur : 3;
	unsigned oth : 3;
	bit stop		/* the intent: stopped */
}

/* A control node that leads, or thinks so: its snapshot of the record, and what it had acknowledged in its term. */
typedef Leader {
	bit leads;
	unsigned term : 2;
	unsigned phase : 3;
	unsigned gen : 3;
	unsigned cur : 3;
	unsigned oth : 3;
	bit stop;
	unsigned fenced : 3;	/* acknowledged.fencedBelow */
	unsigned prog : 2	/* how many of the phase's other steps were acknowledged */
}

Record rec;
Leader L[2];
unsigned term : 2;		/* of the key that leads the election */
bit on[GENS + 1];		/* the host of each generation: part of the record, never changed */

byte q[GENS + 1];		/* the QEMU of each generation */
bit cut[2];			/* hosts that the control plane cannot reach; their way to the storage works */
unsigned from : 3;		/* the migration stream under way; 0, 0 for none */
unsigned to : 3;
unsigned receiver : 3;		/* whom the last complete stream went to */

unsigned storage : 2 = SERVING;
byte granted;			/* a bit per generation */
byte revoked;			/* generations never to be granted again although they are above the floor: a bit each */
unsigned floor : 3;
byte viewed;			/* what etcd said is admitted, and the floor it implies: between reading and serving */
unsigned viewedFloor : 3;

unsigned late : 4;		/* an order on its way whose sender has given it up */
unsigned lateGen : 3;
unsigned lateSource : 3;

unsigned breaks : 3;		/* things that may still break, of any kind */
unsigned lates : 3;		/* orders that may still arrive after their sender gave them up */
unsigned migrations : 3;	/* migrations that somebody may still ask for */
unsigned stops : 3;		/* times that somebody may still ask for a stop, and perhaps for a start after it */
bit calm;			/* nothing breaks any more, and nobody asks for anything */

/* What the checker remembers: nothing above depends on it. */
byte newest;			/* the bit of the newest generation that could write so far */
byte stale;			/* complete destinations whose memory is older than the disk: a bit each */

hidden byte e;			/* scratch, meaningless between two steps */
hidden byte gg;
hidden byte ok;

#define BIT(g)		(1 << (g))
#define FROM(g)		((255 << (g)) & 255)	/* all generations from g on */

#define GRANT_OF(g)	(1 + ((g) - 1) * !WITHOUT_NEW_GENERATION)	/* the generation that the storage service knows a run by */

#if GENS == 3
#define ALL(f)		(f(1) | f(2) | f(3))
#elif GENS == 4
#define ALL(f)		(f(1) | f(2) | f(3) | f(4))
#else
#define ALL(f)		(f(1) | f(2) | f(3) | f(4) | f(5))
#endif
#define WRITES(g)	((q[g] == RUNS && (granted & BIT(GRANT_OF(g)))) << g)
#define WAITS(g)	((q[g] == COMPLETE) << g)
#define LIVES(g)	((q[g] != GONE) << g)
#define WRITERS		ALL(WRITES)		/* generations whose QEMU can write */
#define WAITING		ALL(WAITS)		/* whose QEMU is complete and was not continued */
#define LIVING		ALL(LIVES)		/* whose QEMU exists */

#define SEEN(g)		(!cut[on[g]])		/* whether agent and QMP of its host answer */
#define AWAITS_STREAM(state)	((state) == INMIGRATE || (state) == AUTOSTART)

/* admittedGenerations: src/core/model/vm.ts; floorOfRecord: src/storage/fencing-ledger.ts. */
#define ADMITS_NOTHING	(WITHOUT_HARD_STOP_ADMITTING_NOTHING -> (rec.phase == STOPPED) : (rec.phase == STOPPED || rec.phase == STOPPING))
#define ADMITS_BOTH	(rec.phase == MIGRATING)
#define ADMITTED	(ADMITS_NOTHING -> 0 : BIT(GRANT_OF(rec.cur)) | (ADMITS_BOTH -> BIT(GRANT_OF(rec.oth)) : 0))
#define RECORD_FLOOR	(ADMITS_NOTHING -> GRANT_OF(rec.gen) + 1 : GRANT_OF(rec.cur))

/* L1 of docs/specs/generations.md: what the owner wants, reached. Nothing computes any more that should not, either. */
#define SETTLED_RUNNING	(!rec.stop && rec.phase == RUNNING && WRITERS == BIT(rec.cur) && LIVING == BIT(rec.cur))
#define SETTLED_STOPPED	(rec.stop && rec.phase == STOPPED && LIVING == 0)
#define SETTLED		(SETTLED_RUNNING || SETTLED_STOPPED || rec.gen == GENS)

/* After every change of a QEMU, of a grant, or of the record's phase. */
inline check() {
	e = WRITERS;
	assert((e & (e - 1)) == 0);			/* W2: one writer */
	assert(e == 0 || e >= newest);			/* W1: nobody writes after a newer one */
	assert((e & stale) == 0);			/* M1: nobody goes on with memory older than the disk */
	/* G6: what is recorded as running has the only grant, what is recorded as stopped has none. */
	assert(ONLY_WRITERS || rec.phase != RUNNING || (granted & ~BIT(GRANT_OF(rec.cur))) == 0);
	assert(ONLY_WRITERS || rec.phase != STOPPED || granted == 0);
	if
	:: e > newest -> newest = e
	:: else
	fi;
	if
	:: e != 0 -> stale = (stale | WAITING) & ~e
	:: else
	fi;
	e = 0
}

/* A process ends, and with it a stream from or to it: QEMU's destination exits, its source goes on. */
inline gone(inc) {
	if
	:: from == inc && from != 0 -> q[to] = GONE; stale = stale & ~BIT(to); from = 0; to = 0
	:: to == inc && to != 0 -> from = 0; to = 0
	:: else
	fi;
	q[inc] = GONE;
	stale = stale & ~BIT(inc)
}

/* ---- The storage service: src/core/storage/storage-service.ts ---- */

#define ABOVE_FLOOR(g)	(WITHOUT_FLOOR || (GRANT_OF(g) >= floor))
#define NOT_REVOKED(g)	(WITHOUT_REVOKED_REMEMBERED || ((revoked & BIT(GRANT_OF(g))) == 0))
#define MAY_GRANT	(WITHOUT_READING_BEFORE_GRANTING || (storage >= RESTORING))

/* StorageService.fence */
inline raiseFloor(below) {
	if
	:: below > floor -> floor = below
	:: else
	fi;
	granted = granted & FROM(floor);
	revoked = revoked & FROM(floor)
}

/* StorageService.grant */
inline grantIt(inc) {
	if
	:: MAY_GRANT && ABOVE_FLOOR(inc) && NOT_REVOKED(inc) -> granted = granted | BIT(GRANT_OF(inc)); ok = 1
	:: else -> ok = 0
	fi
}

/* StorageService.revoke */
inline revokeIt(inc) {
	revoked = revoked | BIT(GRANT_OF(inc));
	granted = granted & ~BIT(GRANT_OF(inc))
}

#define WHAT_MAY_BE	(WITHOUT_CHECK_WHEN_RESTORING -> 255 : FROM(floor) & ~revoked)
#define RESTORED	(WITHOUT_RESTORING -> 0 : WHAT_MAY_BE)

/* StorageService.#run: it comes back knowing nothing, reads etcd, and serves what etcd admits. */
proctype Storage() {
end:	do
	/* readClusterView */
	:: d_step { storage == UNREAD -> viewed = ADMITTED; viewedFloor = RECORD_FLOOR;
		/* What the record knows and does not admit, it never admits again. */
		revoked = revoked | (WITHOUT_REVOKED_AFTER_RESTART -> 0 : FROM(1) & ~FROM(GRANT_OF(rec.gen) + 1) & ~viewed);
		storage = READ }
	/* #followCluster, up to the revocation of what is not admitted */
	:: d_step { storage == READ -> raiseFloor(viewedFloor); granted = granted & viewed; storage = RESTORING; check() }
	/* #restore */
	:: d_step { storage == RESTORING ->
		granted = granted | (viewed & RESTORED);
		viewed = 0; viewedFloor = 0; storage = SERVING; check() }
	od
}

/* ---- QEMU, by QMP and by its agent ---- */

/* AgentHost.launch, which here remembers nothing: whatever it is told to start, it starts. */
inline launchIt(inc, state) {
	if
	:: q[inc] == GONE -> q[inc] = state
	:: else
	fi
}

/* QMP cont */
inline contIt(inc) {
	if
	:: AWAITS_STREAM(q[inc]) -> q[inc] = AUTOSTART
	:: q[inc] == GONE
	:: else -> q[inc] = RUNS
	fi
}

/* QMP migrate: a destination that waits for this source takes it; a source in postmigrate does nothing; anything else fails. */
inline sendIt(inc, source) {
	if
	:: AWAITS_STREAM(q[inc]) && (q[source] == RUNS || q[source] == IO_ERROR) && from == 0 -> from = source; to = inc
	:: else
	fi
}

/* QMP migrate_cancel */
inline cancelIt(inc) {
	if
	:: from == inc -> gg = to; gone(gg); gg = 0
	:: else
	fi
}

/* ---- Orders that come late ---- */

#define TO_STORAGE(order)	((order) <= REVOKE)

/* An order that was given up arrives, or is lost because its host is out of reach. */
proctype Net() {
end:	do
	:: d_step { late != NOTHING && (TO_STORAGE(late) || SEEN((late == SEND -> lateSource : lateGen))) ->
		if
		:: late == FENCE -> raiseFloor(lateGen)
		:: late == GRANT -> grantIt(lateGen)
		:: late == REVOKE -> revokeIt(lateGen)
		:: late == LAUNCH -> launchIt(lateGen, PRELAUNCH)
		:: late == LAUNCH_INCOMING -> launchIt(lateGen, INMIGRATE)
		:: late == CONT -> contIt(lateGen)
		:: late == END -> gone(lateGen)
		:: late == SEND -> sendIt(lateGen, lateSource)
		:: late == CANCEL -> cancelIt(lateGen)
		fi;
		late = NOTHING; lateGen = 0; lateSource = 0; ok = 0;
		check() }
	:: d_step { late != NOTHING && !(TO_STORAGE(late) || SEEN((late == SEND -> lateSource : lateGen))) ->
		late = NOTHING; lateGen = 0; lateSource = 0 }
	od
}

/* ---- Leaders: src/core/plan decides, src/core/loop carries out ---- */

#define ME		L[me]
#define STATE		q[ME.cur]
#define OTHER		q[ME.oth]
#define SEES		SEEN(ME.cur)
#define SEES_OTHER	SEEN(ME.oth)

inline look(node) {
	L[node].phase = rec.phase; L[node].gen = rec.gen; L[node].cur = rec.cur; L[node].oth = rec.oth; L[node].stop = rec.stop
}

/* What a leader knew ends with it. */
inline retire(node) {
	L[node].leads = 0; L[node].term = 0; L[node].fenced = 0; L[node].prog = 0;
	L[node].phase = 0; L[node].gen = 0; L[node].cur = 0; L[node].oth = 0; L[node].stop = 0
}

/* Everything is read after the election was won: reign in src/control/leadership.ts. */
inline elect(node) {
	retire(node);
	term++;
	L[node].leads = 1; L[node].term = term;
	look(node)
}

#define IS_SAME_PHASE	(ME.phase == rec.phase && ME.gen == rec.gen && ME.cur == rec.cur)
#define IS_NEWEST	(IS_SAME_PHASE && ME.oth == rec.oth && ME.stop == rec.stop)
#define IS_UNCHANGED	(WITHOUT_REVISION_COMPARE || IS_NEWEST)
#define IS_LEADER	(WITHOUT_ELECTION_COMPARE || (ME.term == term))

/* The transaction of leaderStore.commit: ok when it went through. A leader that is told it was deposed does nothing more. */
inline compare() {
	ok = 0;
	if
	:: !IS_LEADER -> retire(me)
	:: IS_LEADER && !IS_UNCHANGED -> ME.prog = (IS_SAME_PHASE -> ME.prog : 0); look(me)
	:: else -> ok = 1;
		assert(ME.term == term);		/* a deposed leader writes nothing */
		assert(rec.gen == ME.gen);		/* G1: generations only grow, by one at a time */
		assert(rec.stop == ME.stop)		/* T3: what people wrote is not overwritten */
	fi
}

inline committed() {
	look(me);
	ME.prog = 0;
	ok = 0;
	check()
}

inline commitPhase(next, current, other) {
	compare();
	if
	:: ok -> rec.phase = next; rec.cur = current; rec.oth = other; committed()
	:: else
	fi
}

/* startNext */
inline commitStart(host) {
	compare();
	if
	:: ok ->
		assert(!rec.stop);			/* T2: a committed stop stays stopped */
		rec.gen++; rec.phase = STARTING; rec.cur = rec.gen; rec.oth = 0; on[rec.gen] = host;
		committed()
	:: else
	fi
}

/* beginMigration */
inline commitMigration() {
	compare();
	if
	:: ok -> migrations--; rec.gen++; rec.phase = MIGRATING; rec.oth = rec.gen; on[rec.gen] = 1 - on[rec.cur]; committed()
	:: else
	fi
}

/* switchOver */
inline commitSwitch() {
	compare();
	if
	:: ok ->
		assert(q[rec.cur] == POSTMIGRATE && q[rec.oth] == COMPLETE);	/* M1 */
		rec.phase = SWITCHING; rec.cur = ME.oth; rec.oth = ME.cur; committed()
	:: else
	fi
}

/* A step that gets no answer in time is given up, and still on its way; it will be repeated. */
#define MAY_BE_LATE	lates > 0 && late == NOTHING && !calm
inline postpone(order, inc, source) {
	lates--; late = order; lateGen = inc; lateSource = source
}

inline doFence(below) {
	if
	:: d_step { 1 -> raiseFloor(below); ME.fenced = below; check() }
	:: d_step { MAY_BE_LATE -> postpone(FENCE, below, 0) }
	fi
}

inline doGrant(inc) {
	if
	:: d_step { 1 -> grantIt(inc); ME.prog = (ok -> 1 : ME.prog); ok = 0; check() }
	:: d_step { MAY_BE_LATE -> postpone(GRANT, inc, 0) }
	fi
}

inline doLaunch(order, inc, state) {
	if
	:: d_step { 1 -> launchIt(inc, state); ME.prog = 2 }
	:: d_step { MAY_BE_LATE -> postpone(order, inc, 0) }
	fi
}

inline doCont(inc) {
	if
	:: d_step { 1 -> contIt(inc); check() }
	:: d_step { MAY_BE_LATE -> postpone(CONT, inc, 0) }
	fi
}

inline doEnd(inc, progress) {
	if
	:: d_step { 1 -> gone(inc); ME.prog = progress }
	:: d_step { MAY_BE_LATE -> postpone(END, inc, 0) }
	fi
}

#define HAS_ROOM	(ME.gen < GENS)
#define STARTABLE	(HAS_ROOM && !ME.stop)
#define HERE		on[ME.cur]
#define ELSEWHERE	(1 - on[ME.cur])
#define TAKES(host)	(!cut[host])

#define FENCED_BEFORE_GRANT	(WITHOUT_FENCE_BEFORE_GRANT || (ME.fenced >= GRANT_OF(ME.cur)))
#define FENCED_BEFORE_CONT	(WITHOUT_FENCE_BEFORE_CONT || (ME.fenced >= ME.cur))
#define FENCED_BEFORE_STOPPED	(WITHOUT_FENCE_BEFORE_STOPPED || (ME.fenced > ME.gen))
/* A source that says `postmigrate` may have sent to another destination: a deposed leader's, of a migration that was given up. */
#define SENT_TO(g)	(WITHOUT_KNOWING_THE_RECEIVER || (receiver == g))
/* M1: only the source's own word will do. */
#define SOURCE_SAYS_SO	(WITHOUT_THE_SOURCES_WORD || (SEES && STATE == POSTMIGRATE && SENT_TO(ME.oth)))
#define DESTINATION_SAYS_SO	(WITHOUT_A_COMPLETE_DESTINATION -> SEES_OTHER : (SEES_OTHER && OTHER == COMPLETE))
#define MAY_SWITCH	(SOURCE_SAYS_SO && DESTINATION_SAYS_SO)
/* After the fence the source is asked again: one that a deposed leader continued meanwhile says something else, or nothing any more. */
#define SILENCE_WILL_DO	(WITHOUT_DOUBTING_A_SILENT_SOURCE && (!SEES_OTHER || OTHER == GONE))
#define SAYS_SO_STILL	(SEES_OTHER && OTHER == POSTMIGRATE && SENT_TO(ME.cur))
#define SOURCE_SAYS_SO_STILL	(WITHOUT_ASKING_THE_SOURCE_AGAIN || SILENCE_WILL_DO || SAYS_SO_STILL)
/* What arrived by a migration was complete: a process that waits for a stream was launched anew, and would wait for ever. */
#define ENDED	(WITHOUT_GIVING_UP_AN_EMPTY_ARRIVAL -> (STATE == GONE) : (STATE == GONE || AWAITS_STREAM(STATE)))
#define REVOKED	(WITHOUT_REVOKING_THE_DESTINATION || (ME.prog >= 1))
#define MAY_GIVE_UP	!WITHOUT_GIVING_A_MIGRATION_UP
#define HALTED	(WITHOUT_CONTINUING_AFTER_AN_ERROR -> (STATE == PRELAUNCH || STATE == COMPLETE) : (STATE == PRELAUNCH || STATE == COMPLETE || STATE == IO_ERROR))
#define CANNOT_GO_ON	(HALTED && !SOURCE_SAYS_SO_STILL)
#define IS_EXPECTED(g)	(ME.phase != STOPPED && (ME.cur == g || ME.oth == g))
#define IS_STALE(g)	(!WITHOUT_ENDING_WHAT_IS_STALE && q[g] != GONE && SEEN(g) && !IS_EXPECTED(g))

/* An agent refuses a deposed leader once it has heard the next one: it obeys as rarely as an order comes late. */
#define IS_HEARD	(ME.term == term || lates > 0)
inline endStale(inc) {
	lates = (ME.term == term -> lates : lates - 1);
	gone(inc)
}

#define IN(p)		ME.leads && ME.phase == p

proctype ALeader(bit me) {
end:	do
	/* decideStopped */
	:: d_step { IN(STOPPED) && STARTABLE && TAKES(0) -> commitStart(0) }
	:: d_step { IN(STOPPED) && STARTABLE && TAKES(1) && ME.gen > 0 -> commitStart(1) }

	/* decideStarting */
	:: d_step { IN(STARTING) && ME.stop -> commitPhase(STOPPING, ME.cur, 0) }
	:: d_step { IN(STARTING) && STARTABLE && !SEES && TAKES(ELSEWHERE) -> gg = ELSEWHERE; commitStart(gg); gg = 0 }
	:: d_step { IN(STARTING) && STARTABLE && SEES && ME.prog == 2 && STATE == GONE -> gg = HERE; commitStart(gg); gg = 0 }
	:: atomic { IN(STARTING) && !ME.stop && !FENCED_BEFORE_GRANT -> doFence(GRANT_OF(ME.cur)) }
	:: atomic { IN(STARTING) && !ME.stop && FENCED_BEFORE_GRANT && ME.prog == 0 -> doGrant(ME.cur) }
	:: atomic { IN(STARTING) && !ME.stop && ME.prog == 1 && SEES -> doLaunch(LAUNCH, ME.cur, PRELAUNCH) }
	:: atomic { IN(STARTING) && !ME.stop && ME.prog == 2 && SEES && HALTED -> doCont(ME.cur) }
	:: d_step { IN(STARTING) && !ME.stop && ME.prog == 2 && SEES && STATE == RUNS -> commitPhase(RUNNING, ME.cur, 0) }

	/* decideRunning */
	:: d_step { IN(RUNNING) && ME.stop -> commitPhase(STOPPING, ME.cur, 0) }
	:: d_step { IN(RUNNING) && STARTABLE && !SEES && TAKES(ELSEWHERE) -> gg = ELSEWHERE; commitStart(gg); gg = 0 }
	:: d_step { IN(RUNNING) && STARTABLE && SEES && ENDED -> gg = HERE; commitStart(gg); gg = 0 }
	:: atomic { IN(RUNNING) && !ME.stop && SEES && (HALTED || STATE == POSTMIGRATE) -> doCont(ME.cur) }
	:: d_step { IN(RUNNING) && STARTABLE && SEES && STATE == RUNS && migrations > 0 && !calm && TAKES(ELSEWHERE) -> commitMigration() }

	/* decideStopping, mode hard */
	:: atomic { IN(STOPPING) && ME.prog == 0 && SEES && STATE != GONE -> doEnd(ME.cur, 1) }
	:: atomic { IN(STOPPING) && (ME.prog == 1 || !SEES || STATE == GONE) && !FENCED_BEFORE_STOPPED -> doFence(ME.gen + 1) }
	:: d_step { IN(STOPPING) && (ME.prog == 1 || !SEES || STATE == GONE) && FENCED_BEFORE_STOPPED -> commitPhase(STOPPED, 0, 0) }

	/* decideMigrating: `cur` is the source */
	:: d_step { !WITHOUT_COMMIT_BEFORE_CONT && IN(MIGRATING) && MAY_SWITCH -> commitSwitch() }
	:: d_step { WITHOUT_COMMIT_BEFORE_CONT && IN(MIGRATING) && MAY_SWITCH -> raiseFloor(ME.oth); ME.fenced = ME.oth; contIt(ME.oth); check() }
	:: d_step { WITHOUT_COMMIT_BEFORE_CONT && IN(MIGRATING) && SEES_OTHER && OTHER == RUNS -> commitPhase(SWITCHING, ME.oth, ME.cur) }
	:: d_step { IN(MIGRATING) && !MAY_SWITCH && (!SEES || STATE == GONE) && ME.stop -> commitPhase(STOPPING, ME.cur, 0) }
	:: d_step { IN(MIGRATING) && !MAY_SWITCH && STARTABLE && !SEES && TAKES(ELSEWHERE) -> gg = ELSEWHERE; commitStart(gg); gg = 0 }
	:: d_step { IN(MIGRATING) && !MAY_SWITCH && STARTABLE && SEES && STATE == GONE -> gg = HERE; commitStart(gg); gg = 0 }
	/* It is to stop, something failed, or it took too long: that may be at any time. */
	:: d_step { IN(MIGRATING) && !MAY_SWITCH && SEES && STATE != GONE && (ME.stop || MAY_GIVE_UP) -> commitPhase(UNWINDING, ME.cur, ME.oth) }
	:: atomic { IN(MIGRATING) && ME.prog == 0 -> doGrant(ME.oth) }
	:: atomic { IN(MIGRATING) && ME.prog == 1 && SEES_OTHER -> doLaunch(LAUNCH_INCOMING, ME.oth, INMIGRATE) }
	:: atomic { IN(MIGRATING) && ME.prog == 2 && SEES_OTHER && SEES && OTHER != GONE ->
		if
		:: d_step { 1 -> sendIt(ME.oth, ME.cur); ME.prog = 3 }
		:: d_step { MAY_BE_LATE -> postpone(SEND, ME.oth, ME.cur) }
		fi }

	/* decideSwitching: `cur` is the destination */
	:: atomic { IN(SWITCHING) && !FENCED_BEFORE_CONT -> doFence(ME.cur) }
	:: d_step { IN(SWITCHING) && FENCED_BEFORE_CONT && ME.stop && (!SEES || ENDED || CANNOT_GO_ON) -> commitPhase(STOPPING, ME.cur, 0) }
	:: d_step { IN(SWITCHING) && FENCED_BEFORE_CONT && STARTABLE && !SEES && TAKES(ELSEWHERE) -> gg = ELSEWHERE; commitStart(gg); gg = 0 }
	:: d_step { IN(SWITCHING) && FENCED_BEFORE_CONT && STARTABLE && SEES && (ENDED || CANNOT_GO_ON) -> gg = HERE; commitStart(gg); gg = 0 }
	:: atomic { IN(SWITCHING) && FENCED_BEFORE_CONT && SEES && HALTED && SOURCE_SAYS_SO_STILL -> doCont(ME.cur) }
	:: atomic { IN(SWITCHING) && FENCED_BEFORE_CONT && SEES && STATE == RUNS && ME.prog == 0 && SEES_OTHER && OTHER != GONE -> doEnd(ME.oth, 1) }
	:: d_step { IN(SWITCHING) && FENCED_BEFORE_CONT && SEES && STATE == RUNS && (ME.prog == 1 || !SEES_OTHER || OTHER == GONE) -> commitPhase(RUNNING, ME.cur, 0) }

	/* decideUnwinding: `cur` is the source */
	:: atomic { IN(UNWINDING) && !REVOKED ->
		if
		:: d_step { 1 -> revokeIt(ME.oth); ME.prog = 1; check() }
		:: d_step { MAY_BE_LATE -> postpone(REVOKE, ME.oth, 0) }
		fi }
	:: atomic { IN(UNWINDING) && REVOKED && SEES && from == ME.cur ->
		if
		:: d_step { 1 -> cancelIt(ME.cur) }
		:: d_step { MAY_BE_LATE -> postpone(CANCEL, ME.cur, 0) }
		fi }
	:: atomic { IN(UNWINDING) && REVOKED && !(SEES && from == ME.cur) && ME.prog < 2 && SEES_OTHER && OTHER != GONE -> doEnd(ME.oth, 2) }
	:: d_step { IN(UNWINDING) && REVOKED && !(SEES && from == ME.cur) && (ME.prog == 2 || !SEES_OTHER || OTHER == GONE) -> commitPhase(RUNNING, ME.cur, 0) }

	/* decideHost: what the snapshot does not expect is ended */
	:: d_step { ME.leads && IS_STALE(1) && IS_HEARD -> endStale(1) }
	:: d_step { ME.leads && IS_STALE(2) && IS_HEARD -> endStale(2) }
	:: d_step { ME.leads && IS_STALE(3) && IS_HEARD -> endStale(3) }
#if GENS > 3
	:: d_step { ME.leads && IS_STALE(4) && IS_HEARD -> endStale(4) }
#endif
#if GENS > 4
	:: d_step { ME.leads && IS_STALE(5) && IS_HEARD -> endStale(5) }
#endif

	/* The watch shows what changed. */
	:: d_step { ME.leads && ME.term == term && !IS_NEWEST -> ME.prog = (IS_SAME_PHASE -> ME.prog : 0); look(me) }
	/* A leader that was deposed finds out, at the latest when nothing breaks any more. */
	:: d_step { ME.leads && ME.term != term && calm -> retire(me) }
	od
}

/* ---- The world ---- */

#define ARRIVED		(q[to] == AUTOSTART -> RUNS : COMPLETE)
#define IS_REFUSED(g)	(q[g] == RUNS && !(granted & BIT(GRANT_OF(g))))

/* What happens by itself, sooner or later. */
proctype World() {
end:	do
	/* The stream is complete. */
	:: d_step { to != 0 -> q[from] = POSTMIGRATE; receiver = to; q[to] = ARRIVED; from = 0; to = 0; check() }
	/* A write that is not admitted fails in the end: werror=stop. */
	:: d_step { IS_REFUSED(1) -> q[1] = IO_ERROR }
	:: d_step { IS_REFUSED(2) -> q[2] = IO_ERROR }
	:: d_step { IS_REFUSED(3) -> q[3] = IO_ERROR }
#if GENS > 3
	:: d_step { IS_REFUSED(4) -> q[4] = IO_ERROR }
#endif
#if GENS > 4
	:: d_step { IS_REFUSED(5) -> q[5] = IO_ERROR }
#endif
	/* Hosts boot, cables are put back. */
	:: d_step { cut[0] -> cut[0] = 0 }
	:: d_step { cut[1] -> cut[1] = 0 }
	od
}

/* Power goes: every process of the host with it, and it is not seen until it has booted. */
inline powerFails(host) {
	gg = 1;
	do
	:: gg <= GENS && q[gg] != GONE && on[gg] == host -> gone(gg); gg++
	:: gg <= GENS && !(q[gg] != GONE && on[gg] == host) -> gg++
	:: gg > GENS -> break
	od;
	gg = 0;
	cut[host] = 1
}

inline forget() {
	storage = UNREAD; floor = 0; revoked = 0; viewed = 0; viewedFloor = 0
}

#define MAY_BREAK	!calm && breaks > 0
#define ON(g, host)	(q[g] != GONE && on[g] == host)
#if GENS == 3
#define HOLDS(host)	(ON(1, host) || ON(2, host) || ON(3, host))
#elif GENS == 4
#define HOLDS(host)	(ON(1, host) || ON(2, host) || ON(3, host) || ON(4, host))
#else
#define HOLDS(host)	(ON(1, host) || ON(2, host) || ON(3, host) || ON(4, host) || ON(5, host))
#endif

/* What breaks, and what people ask for; none of it need ever happen. */
proctype Trouble() {
end:	do
	/* The other node is elected. The one before goes on until it finds out; one that died is one that does nothing any more. */
	:: d_step { !calm && term < TERMS -> gg = term % 2; elect(gg); gg = 0 }
	/* A host dies. */
	:: d_step { MAY_BREAK && HOLDS(0) -> breaks--; powerFails(0) }
	:: d_step { MAY_BREAK && HOLDS(1) -> breaks--; powerFails(1) }
	/* QEMU dies. */
	:: d_step { MAY_BREAK && rec.cur != 0 && q[rec.cur] != GONE -> breaks--; gg = rec.cur; gone(gg); gg = 0 }
	:: d_step { MAY_BREAK && rec.oth != 0 && q[rec.oth] != GONE -> breaks--; gg = rec.oth; gone(gg); gg = 0 }
	/* The control plane loses sight of a host that lives: a verdict of loss will be wrong. */
	:: d_step { MAY_BREAK && HOLDS(0) && !cut[0] -> breaks--; cut[0] = 1 }
	:: d_step { MAY_BREAK && HOLDS(1) && !cut[1] -> breaks--; cut[1] = 1 }
	/* The storage service starts again; its daemons went on, or did not. */
	:: d_step { MAY_BREAK -> breaks--; forget() }
	:: d_step { MAY_BREAK && granted != 0 -> breaks--; forget(); granted = 0 }
	/* The stream breaks; at its very end the destination has everything and the source goes on by itself. */
	:: d_step { MAY_BREAK && to != 0 -> breaks--; gg = to; gone(gg); gg = 0 }
	:: d_step { MAY_BREAK && to != 0 -> breaks--; q[to] = ARRIVED; from = 0; to = 0; check() }
	/* People: their transactions compare revisions as well (src/control/backend/vms.ts). */
	:: d_step { !calm && stops > 0 && !rec.stop -> stops--; rec.stop = 1 }
	:: d_step { !calm && rec.stop -> rec.stop = 0 }
	/* Enough. */
	:: d_step { CALM && !calm -> calm = 1 }
	:: calm -> break
	od
}

init {
	d_step { readSettings(); elect(0) };
	atomic { run Trouble(); run Storage(); run Net(); run ALeader(0); run ALeader(1); run World() };
	/* No deadlock: when nothing can happen any more, everything is as its owner wants it. */
end:	timeout -> assert(SETTLED)
}

ltl settles { <>[] SETTLED }
