#include "server/engine/document_streams.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/read_budget.h"

namespace vecino::engine {
namespace {

constexpr size_t kIdsPerRead = 1024;
// Documents of one read: few at first, when their size is not known, then as many as fit.
constexpr size_t kFirstRead = 8, kMaxRead = 256;
// Documents and ids that one Next looks at when few of them pass or are of the slice: about as many
// as are read in a second, so that a caller hears of it now and then.
constexpr size_t kMaxDocuments = 16'384, kMaxIds = 1'000'000;

// The 64 bits that slices are cut by. Not those of ShardOf, whose shards it must divide evenly. On
// the wire, in resume tokens: never change.
uint64_t SliceHash(std::string_view id) {
  uint64_t hash = 0x9e3779b97f4a7c15u;
  for (const char c : id) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

}  // namespace

int SliceOf(int shard, int shard_count, std::string_view id, int total) {
  __extension__ using Wide = unsigned __int128;
  const auto within =
      static_cast<uint64_t>(Wide{SliceHash(id)} * static_cast<uint64_t>(total) >> 64);
  const uint64_t place = static_cast<uint64_t>(shard) * static_cast<uint64_t>(total) + within;
  return static_cast<int>(place / static_cast<uint64_t>(shard_count));
}

bool SliceTouches(const DocumentSlice& slice, int shard, int shard_count) {
  const int first = shard * slice.total / shard_count;
  const int last = (shard * slice.total + slice.total - 1) / shard_count;
  return first <= slice.index && slice.index <= last;
}

// A snapshot that another thread can take away.
class DocumentStreams::Lease {
 public:
  Lease(DocumentStreams* owner, std::unique_ptr<storage::Snapshot> snapshot, absl::Time expiry)
      : owner_(*owner), snapshot_(std::move(snapshot)), expiry_(expiry) {}
  ~Lease() {
    absl::MutexLock lock(&owner_.mu_);
    std::erase(owner_.leases_, this);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // Null once it was given back. Who holds it while it reads may be the last to.
  std::shared_ptr<const storage::Snapshot> snapshot() const {
    absl::MutexLock lock(&owner_.mu_);
    return snapshot_;
  }

 private:
  friend class DocumentStreams;
  DocumentStreams& owner_;
  std::shared_ptr<const storage::Snapshot> snapshot_;  // guarded by the owner's lock
  const absl::Time expiry_;
};

class DocumentStreams::Stream final : public DocumentStream {
 public:
  Stream(std::shared_ptr<const Collection> collection, const DocumentStreamRequest& request,
         std::shared_ptr<const fields::Filter> filter, std::unique_ptr<Lease> lease,
         absl::Duration max_age)
      : collection_(std::move(collection)),
        info_(collection_->info()),
        now_us_(collection_->NowUs()),
        filter_(std::move(filter)),
        lease_(std::move(lease)),
        max_age_(max_age),
        parts_(request.parts),
        slice_(request.slice),
        shard_(request.shard),
        after_id_(request.after_id) {}

  const CollectionInfo& info() const override { return info_; }

  absl::StatusOr<DocumentChunk> Next(size_t max_bytes, const CallContext& context) override {
    const std::shared_ptr<const storage::Snapshot> snapshot = lease_->snapshot();
    if (snapshot == nullptr) {
      return absl::UnavailableError(absl::StrCat(
          "this stream was open for ", absl::FormatDuration(max_age_),
          ", which is the limit (storage.document-stream-age): call again with the resume token"));
    }
    DocumentChunk chunk;
    size_t bytes = 0, documents = 0, ids = 0;
    while (bytes < max_bytes && documents < kMaxDocuments && ids < kMaxIds) {
      if (absl::Status status = CheckCall(context, "the next documents were read"); !status.ok()) {
        return status;
      }
      if (pending_.empty()) {
        absl::Status status = FindIds(*snapshot, &ids);
        if (!status.ok()) return status;
        chunk.end = shard_ == collection_->shard_count();
        if (chunk.end) break;
        continue;
      }
      const size_t step =
          read_documents_ == 0 ? kFirstRead : max_bytes * read_documents_ / read_bytes_;
      const size_t count = std::min(pending_.size(), std::clamp<size_t>(step, 1, kMaxRead));
      if (absl::Status status = Read(*snapshot, count, &chunk, &bytes); !status.ok()) return status;
      documents += count;
    }
    chunk.shard = shard_;
    chunk.after_id = pending_.empty() ? after_id_ : read_id_;
    return chunk;
  }

 private:
  using Ids = std::deque<std::pair<std::string, storage::IdEntry>>;

  // Looks for more ids, of one shard, or moves to the next one; shard_ is the number of shards at
  // the end.
  absl::Status FindIds(const storage::Snapshot& snapshot, size_t* looked_at) {
    const int shards = collection_->shard_count();
    while (shard_ < shards && !SliceTouches(slice_, shard_, shards)) NextShard();
    if (shard_ == shards) return absl::OkStatus();
    auto ids = collection_->log(shard_).ListIdsAt(snapshot, after_id_, kIdsPerRead);
    if (!ids.ok()) return ids.status();
    if (ids->empty()) {
      NextShard();
      return absl::OkStatus();
    }
    *looked_at += ids->size();
    read_id_ = after_id_;
    after_id_ = ids->back().first;
    for (auto& id : *ids) {
      if (storage::IsExpired(id.second.expire_time_us, now_us_)) continue;
      if (slice_.total > 1 && SliceOf(shard_, shards, id.first, slice_.total) != slice_.index) {
        continue;
      }
      pending_.push_back(std::move(id));
    }
    return absl::OkStatus();
  }

  void NextShard() {
    ++shard_;
    after_id_.clear();
  }

  // The first `count` pending ones.
  absl::Status Read(const storage::Snapshot& snapshot, size_t count, DocumentChunk* chunk,
                    size_t* bytes) {
    std::vector<uint64_t> sequences;
    for (size_t i = 0; i < count; ++i) sequences.push_back(pending_[i].second.sequence);
    storage::DocumentParts parts = parts_;
    parts.metadata = parts.metadata || filter_ != nullptr;
    auto documents = collection_->log(shard_).GetDocumentsAt(snapshot, sequences, parts);
    if (!documents.ok()) return documents.status();
    for (size_t i = 0; i < count; ++i) {
      std::optional<storage::Document>& document = (*documents)[i];
      if (!document.has_value()) {
        return absl::DataLossError(absl::StrCat("document `", absl::CHexEscape(pending_[i].first),
                                                "` of shard ", shard_, " of collection `",
                                                info().spec.id, "` has an id and is not stored"));
      }
      const size_t size = ReplyBytes(*document) + 1;
      read_bytes_ += size;
      ++read_documents_;
      if (!Passes(*document)) continue;
      *bytes += size;
      if (!parts_.metadata) document->metadata.clear();
      chunk->documents.push_back({shard_, *std::move(document)});
    }
    read_id_ = std::move(pending_[count - 1].first);
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(count));
    return absl::OkStatus();
  }

  bool Passes(const storage::Document& document) const {
    if (filter_ == nullptr) return true;
    const absl::StatusOr<fields::Row> row = fields::ReadMetadata(document.metadata);
    // One that cannot be read counts as none, as in Shard::ReadFields.
    return filter_->Passes(row.ok() ? *row : fields::Row());
  }

  const std::shared_ptr<const Collection> collection_;
  const CollectionInfo info_;
  const int64_t now_us_;  // when it was opened: what had expired by then is left out
  const std::shared_ptr<const fields::Filter> filter_;  // null: all pass
  const std::unique_ptr<Lease> lease_;
  const absl::Duration max_age_;
  const storage::DocumentParts parts_;
  const DocumentSlice slice_;
  int shard_;
  std::string after_id_;  // ids up to here were looked at
  Ids pending_;           // of shard_ and the slice, whose documents are to be read
  std::string read_id_;   // of shard_: what comes before pending_ was dealt with up to here
  size_t read_documents_ = 0, read_bytes_ = 0;  // so far, for how many to read at once
};

DocumentStreams::DocumentStreams(const Options& options, const storage::Store* store)
    : options_(options), store_(*store) {
  if (options_.max_age < absl::InfiniteDuration()) thread_ = std::thread([this] { Run(); });
}

DocumentStreams::~DocumentStreams() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<DocumentStream>> DocumentStreams::Open(
    std::shared_ptr<const Collection> collection, const DocumentStreamRequest& request) {
  const DocumentSlice& slice = request.slice;
  if (slice.total < 1 || slice.total > DocumentSlice::kMaxSlices) {
    return InvalidField("slice.total", absl::StrCat("is ", slice.total, ", must be 1 to ",
                                                    DocumentSlice::kMaxSlices));
  }
  if (slice.index < 0 || slice.index >= slice.total) {
    return InvalidField("slice.index", absl::StrCat("is ", slice.index, ", must be 0 to ",
                                                    slice.total - 1, ", below slice.total"));
  }
  if (request.shard < 0 || request.shard >= collection->shard_count()) {
    return InvalidField("resume_token", absl::StrCat("names shard ", request.shard, ", there are ",
                                                     collection->shard_count()));
  }
  auto filter = collection->ReadFilter(request.filter);
  if (!filter.ok()) return filter.status();
  std::unique_ptr<Lease> lease;
  {
    absl::MutexLock lock(&mu_);
    if (OpenLocked() >= options_.max_open) {
      return absl::ResourceExhaustedError(
          absl::StrCat(options_.max_open, " streams of documents are open, which is the limit ",
                       "(storage.document-streams); try again when one has ended"));
    }
    lease = std::make_unique<Lease>(this, store_.TakeSnapshot(), absl::Now() + options_.max_age);
    leases_.push_back(lease.get());
    changed_.Signal();
  }
  return std::make_unique<Stream>(std::move(collection), request, *std::move(filter),
                                  std::move(lease), options_.max_age);
}

int DocumentStreams::open() const {
  absl::MutexLock lock(&mu_);
  return OpenLocked();
}

int DocumentStreams::OpenLocked() const {
  return static_cast<int>(std::count_if(leases_.begin(), leases_.end(), [](const Lease* lease) {
    return lease->snapshot_ != nullptr;
  }));
}

void DocumentStreams::Run() {
  std::vector<std::shared_ptr<const storage::Snapshot>> old;
  mu_.Lock();
  while (!stopping_) {
    absl::Time next = absl::InfiniteFuture();
    const absl::Time now = absl::Now();
    for (Lease* lease : leases_) {
      if (lease->snapshot_ == nullptr) continue;
      if (lease->expiry_ <= now) {
        old.push_back(std::exchange(lease->snapshot_, nullptr));
      } else {
        next = std::min(next, lease->expiry_);
      }
    }
    if (!old.empty()) {
      mu_.Unlock();
      old.clear();  // the store's business, without the lock
      mu_.Lock();
      continue;
    }
    changed_.WaitWithDeadline(&mu_, next);
  }
  mu_.Unlock();
}

}  // namespace vecino::engine
