// Background work that leaves the processors to searches in time.
#pragma once

namespace vecino::index {

// A low priority alone does not keep a background thread out of the way: inside a system call
// Linux may not take the processor away until the call ends, who runs is protected for a slice, and
// a thread that wakes is often put where it ran before although the other processor does nothing
// but background work. A processor that falls idle takes waiting threads at once. So background
// threads sleep for a moment after each millisecond of work while there are searches; docs/index.md
// ("Making way") has the measurement.

// Says whether the calling thread does background work; at first no thread does. ParallelFor's
// threads are what their caller is.
void SetBackground(bool background);
bool IsBackground();

// Says that a search came. Thread safe, never blocks, about 30 ns.
void NoteSearch();
// Whether one came within about the last second.
bool SearchedLately();

// For long work, every half millisecond or less: sleeps for some 150 µs when the thread is a
// background thread that worked for a millisecond since it last slept here, and SearchedLately();
// in between it yields as YieldToSearches. Else it costs about 30 ns. Not to be called with a lock
// that searches need.
void GiveWay();

// For writes, between rows: once in a tenth of a millisecond lets a thread run that waits for this
// processor, when SearchedLately(). Else it costs about 30 ns. A batch of a hundred rows takes up
// to a millisecond of a processor, in which Linux would not take it away for a search that came.
void YieldToSearches();

}  // namespace vecino::index
