// Between a collection's definition and the values that stand for it in the store.
#pragma once

#include "server/engine/types.h"
#include "storage/collection_record.h"

namespace vecino::engine {

storage::StoredMetric ToStored(Metric metric);
Metric FromStored(storage::StoredMetric metric);

// The spec has been checked.
storage::StoredIndex ToStored(const IndexSpec& spec);
// What was not stored is the default.
IndexSpec FromStored(const storage::StoredIndex& stored);

}  // namespace vecino::engine
