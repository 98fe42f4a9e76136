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

// names: as ChoosePrompts returned them. The default ones are not written, so that records without
// others are those there always were.
void StorePrompts(const PromptNames& names, storage::CollectionRecord* record);
// Empty without a model.
PromptNames StoredPrompts(const storage::CollectionRecord& record);

}  // namespace vecino::engine
