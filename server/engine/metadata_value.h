// One value out of a document's metadata.
#pragma once

#include <string_view>

#include "server/engine/types.h"

namespace vecino::engine {

// The text, number or boolean at `path` in `json`, which is the text of one JSON object: the names
// of nested fields, joined by dots. Where a list stands in the way or at the end, its first value
// counts. monostate when there is no such field, or null, an object or an empty list in its place.
// -0 is 0. The first field of a name counts. Text that is not JSON gives monostate or what stands
// before the fault. Reads `json` once, up to the field; nothing is allocated but the text returned.
GroupValue MetadataValue(std::string_view json, std::string_view path);

}  // namespace vecino::engine
