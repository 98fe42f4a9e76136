// Work that makes way for everything else.
#pragma once

namespace vecino::engine {

// From now on the calling thread runs at the lowest priority there is for ordinary threads. There
// is no way back. Does not fail: without the right the priority stays.
void LowerPriority();

}  // namespace vecino::engine
