#include "server/engine/stored_spec.h"

#include <cmath>

#include "encoder/encoder.h"

namespace vecino::engine {
namespace {

storage::StoredIndexKind ToStored(IndexKind kind) {
  switch (kind) {
    case IndexKind::kAuto:
      return storage::StoredIndexKind::kAuto;
    case IndexKind::kFlat:
      return storage::StoredIndexKind::kFlat;
    case IndexKind::kIvfFlat:
      return storage::StoredIndexKind::kIvfFlat;
    case IndexKind::kIvfSq8:
      return storage::StoredIndexKind::kIvfSq8;
    case IndexKind::kIvfPq:
      return storage::StoredIndexKind::kIvfPq;
    case IndexKind::kHnsw:
      return storage::StoredIndexKind::kHnsw;
    case IndexKind::kLsh:
      return storage::StoredIndexKind::kLsh;
  }
  return storage::StoredIndexKind::kAuto;
}

IndexKind FromStored(storage::StoredIndexKind kind) {
  switch (kind) {
    case storage::StoredIndexKind::kFlat:
      return IndexKind::kFlat;
    case storage::StoredIndexKind::kAuto:
      return IndexKind::kAuto;
    case storage::StoredIndexKind::kIvfFlat:
      return IndexKind::kIvfFlat;
    case storage::StoredIndexKind::kIvfSq8:
      return IndexKind::kIvfSq8;
    case storage::StoredIndexKind::kIvfPq:
      return IndexKind::kIvfPq;
    case storage::StoredIndexKind::kHnsw:
      return IndexKind::kHnsw;
    case storage::StoredIndexKind::kLsh:
      return IndexKind::kLsh;
  }
  return IndexKind::kFlat;
}

}  // namespace

storage::StoredMetric ToStored(Metric metric) {
  switch (metric) {
    case Metric::kCosine:
      return storage::StoredMetric::kCosine;
    case Metric::kDot:
      return storage::StoredMetric::kDot;
    case Metric::kL2:
      return storage::StoredMetric::kL2;
  }
  return storage::StoredMetric::kCosine;
}

Metric FromStored(storage::StoredMetric metric) {
  switch (metric) {
    case storage::StoredMetric::kCosine:
      return Metric::kCosine;
    case storage::StoredMetric::kDot:
      return Metric::kDot;
    case storage::StoredMetric::kL2:
      return Metric::kL2;
  }
  return Metric::kCosine;
}

storage::StoredIndex ToStored(const IndexSpec& spec) {
  storage::StoredIndex stored;
  stored.kind = ToStored(spec.kind);
  stored.recall_millionths = static_cast<uint32_t>(std::lround(spec.recall_target * 1e6));
  stored.nlist = static_cast<uint32_t>(spec.nlist);
  stored.nprobe = static_cast<uint32_t>(spec.nprobe);
  stored.pq_m = static_cast<uint32_t>(spec.pq_m);
  stored.pq_bits = static_cast<uint32_t>(spec.pq_bits);
  stored.hnsw_m = static_cast<uint32_t>(spec.hnsw_m);
  stored.ef_construction = static_cast<uint32_t>(spec.ef_construction);
  stored.ef_search = static_cast<uint32_t>(spec.ef_search);
  stored.lsh_bits = static_cast<uint32_t>(spec.lsh_bits);
  stored.no_graph = !spec.graph;
  return stored;
}

IndexSpec FromStored(const storage::StoredIndex& stored) {
  IndexSpec spec;
  spec.kind = FromStored(stored.kind);
  if (stored.recall_millionths != 0) spec.recall_target = stored.recall_millionths / 1e6;
  spec.nlist = static_cast<int>(stored.nlist);
  spec.nprobe = static_cast<int>(stored.nprobe);
  spec.pq_m = static_cast<int>(stored.pq_m);
  spec.pq_bits = static_cast<int>(stored.pq_bits);
  spec.hnsw_m = static_cast<int>(stored.hnsw_m);
  spec.ef_construction = static_cast<int>(stored.ef_construction);
  spec.ef_search = static_cast<int>(stored.ef_search);
  spec.lsh_bits = static_cast<int>(stored.lsh_bits);
  spec.graph = !stored.no_graph;
  return spec;
}

void StorePrompts(const PromptNames& names, storage::CollectionRecord* record) {
  if (names.query != encoder::kQueryPrompt) record->query_prompt = names.query;
  if (names.document != encoder::kDocumentPrompt) record->document_prompt = names.document;
}

PromptNames StoredPrompts(const storage::CollectionRecord& record) {
  if (record.model.empty()) return {};
  PromptNames names{.query = record.query_prompt, .document = record.document_prompt};
  if (names.query.empty()) names.query = encoder::kQueryPrompt;
  if (names.document.empty()) names.document = encoder::kDocumentPrompt;
  return names;
}

}  // namespace vecino::engine
