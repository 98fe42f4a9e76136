// Is what is stored whole? Reads only.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/iterator.h"
#include "rocksdb/metadata.h"
#include "rocksdb/snapshot.h"
#include "rocksdb/sst_file_reader.h"
#include "storage/codec.h"
#include "storage/keys.h"
#include "storage/local_store.h"
#include "storage/records.h"
#include "storage/slices.h"
#include "storage/wal_check.h"

namespace vecino::storage {
namespace {

constexpr uint64_t kProgressRows = 256;
constexpr int kLooksAtLog = 8;
constexpr char kRestore[] =
    "restore the collection from a snapshot, or the data folder from a backup";

// The names that the store's tables have now.
std::set<std::string> LiveTables(rocksdb::DB* db, std::vector<rocksdb::LiveFileMetaData>* files) {
  files->clear();
  db->GetLiveFilesMetaData(files);
  std::set<std::string> names;
  for (const auto& file : *files) names.insert(file.name);
  return names;
}

// One pass over a shard's rows, all at one moment.
class ShardCheck {
 public:
  ShardCheck(const Database* database, CollectionRecord record, uint16_t shard,
             const IntegritySink* sink)
      : database_(*database),
        record_(std::move(record)),
        shard_(shard),
        sink_(*sink),
        moment_(&database->db()) {}

  // An error is that of progress.
  absl::Status Run() {
    const std::string prefix = ShardPrefix(record_.uid, shard_);
    const std::string end = PrefixEnd(prefix);
    absl::Status status = CheckDocuments(prefix, end);
    if (status.ok()) status = CheckIds(prefix, end);
    if (status.ok()) status = CheckExpiries();
    return status.ok() ? Tell() : status;
  }

 private:
  rocksdb::ReadOptions Options(const rocksdb::Slice* upper) const {
    rocksdb::ReadOptions options;
    options.snapshot = moment_.snapshot();
    options.iterate_upper_bound = upper;
    options.readahead_size = Database::kReadaheadBytes;
    options.fill_cache = false;  // what searches need stays
    return options;
  }
  std::string Where(std::string_view what) const {
    return absl::StrCat("shard ", shard_, ", ", std::string(what));
  }
  void Report(std::string_view what, std::string problem) const {
    sink_.found({.where = Where(what), .problem = std::move(problem), .advice = kRestore});
  }
  absl::Status Tell() { return sink_.progress(std::exchange(rows_, 0), std::exchange(bytes_, 0)); }
  absl::Status Count(size_t bytes) {
    bytes_ += bytes;
    return ++rows_ < kProgressRows ? absl::OkStatus() : Tell();
  }
  // What an iterator that stopped says.
  void ReportEnd(const rocksdb::Iterator& at, Family family) const {
    if (at.status().ok()) return;
    Report(absl::StrCat("column family ", std::string(FamilyLabel(family))),
           absl::StrCat("rows cannot be read from some point on: ", at.status().ToString()));
  }

  absl::Status CheckDocuments(const std::string& prefix, const std::string& end);
  absl::Status CheckIds(const std::string& prefix, const std::string& end);
  absl::Status CheckExpiries();
  void CheckDocument(std::string_view key, std::string_view value, rocksdb::Iterator* vectors);
  // The vectors of a document; 0 where it has none. False: reported.
  bool CheckVector(const Document& document, std::string_view key, rocksdb::Iterator* vectors,
                   uint64_t* count);
  // Of documents before `key` (empty: of all that are left). False: `stopped_` says why.
  bool SkipVectors(std::string_view key, rocksdb::Iterator* vectors);
  rocksdb::Status Get(Family family, const std::string& key, std::string* value) const {
    return database_.db().Get(Options(nullptr), database_.family(family), key, value);
  }

  const Database& database_;
  const CollectionRecord record_;
  const uint16_t shard_;
  const IntegritySink& sink_;
  mutable rocksdb::ManagedSnapshot moment_;  // its one getter is not const
  uint64_t rows_ = 0, bytes_ = 0;            // that progress was not told of
  absl::Status stopped_;                     // what progress said
  uint64_t expiring_ = 0;                    // good documents that expire
  uint64_t documents_ = 0;
  uint64_t last_ = 0;  // sequence number of the shard
};

std::string Quoted(std::string_view id) {
  return absl::StrCat("document `", absl::CHexEscape(std::string(id.substr(0, 100))), "`");
}

bool ShardCheck::SkipVectors(std::string_view key, rocksdb::Iterator* vectors) {
  for (; vectors->Valid() && (key.empty() || AsView(vectors->key()) < key); vectors->Next()) {
    Report(absl::StrCat("vector ", ToHex(AsView(vectors->key()))), "there is no document of it");
    // There may be as many as there were documents.
    if (stopped_ = Count(vectors->value().size()); !stopped_.ok()) return false;
  }
  return true;
}

bool ShardCheck::CheckVector(const Document& document, std::string_view key,
                             rocksdb::Iterator* vectors, uint64_t* count) {
  if (!SkipVectors(key, vectors)) return false;
  const bool there = vectors->Valid() && AsView(vectors->key()) == key;
  if (there != document.has_vector) {
    // When the vectors cannot be read on, that is said once, at the end.
    if (there || vectors->status().ok()) {
      Report(Quoted(document.id),
             there ? "it has a vector, and should have none" : "its vector is missing");
    }
    if (there) vectors->Next();
    return false;
  }
  if (!there) return true;
  std::vector<float> floats;
  absl::Status status = DecodeVectors(AsView(vectors->value()), record_.dimension,
                                      record_.chunk_tokens > 0 ? kMaxPassages : 1, &floats);
  bytes_ += vectors->value().size();
  vectors->Next();
  *count = floats.size() / record_.dimension;
  if (status.ok() && *count != std::max<size_t>(document.passages.size(), 1)) {
    status = absl::DataLossError(
        absl::StrCat("it has ", document.passages.size(), " passages and ", *count, " vectors"));
  }
  if (!status.ok()) Report(Quoted(document.id), std::string(status.message()));
  return status.ok();
}

void ShardCheck::CheckDocument(std::string_view key, std::string_view value,
                               rocksdb::Iterator* vectors) {
  ++documents_;
  uint64_t sequence = 0;
  Document document;
  absl::Status status =
      ParseSequence(key, &sequence)
          ? DecodeDocument(value, {.text = false, .metadata = false, .passages = true}, &document)
          : absl::DataLossError("its key has a wrong length");
  if (!status.ok()) {
    Report(absl::StrCat("document ", ToHex(key)), std::string(status.message()));
    return;
  }
  if (sequence > last_) {
    Report(Quoted(document.id),
           absl::StrCat("its number ", sequence, " is beyond the shard's last write, ", last_));
  }
  uint64_t vectors_of_it = 0;
  bool good = CheckVector(document, key, vectors, &vectors_of_it);
  std::string bytes;
  const rocksdb::Status found = Get(Family::kIds, IdKey(record_.uid, shard_, document.id), &bytes);
  if (!found.ok()) {
    Report(Quoted(document.id), absl::StrCat("its entry in the map of ids ",
                                             found.IsNotFound() ? "is missing" : found.ToString()));
    return;
  }
  const absl::StatusOr<IdEntry> entry = DecodeIdEntry(bytes);
  if (!entry.ok() || entry->sequence != sequence) {
    Report(Quoted(document.id),
           entry.ok() ? absl::StrCat("the map of ids says that its version is ", entry->sequence,
                                     ", but version ", sequence, " is stored")
                      : std::string(entry.status().message()));
    return;
  }
  if (document.expire_time_us != 0) {
    ++expiring_;
    std::string nothing;
    if (!Get(Family::kMeta, ExpiryKey(record_.uid, shard_, document.expire_time_us, sequence),
             &nothing)
             .ok()) {
      Report(Quoted(document.id), "it expires, but is not in the order of what expires");
    }
  }
  if (good && sink_.document != nullptr) sink_.document(document.id, sequence, vectors_of_it);
}

absl::Status ShardCheck::CheckDocuments(const std::string& prefix, const std::string& end) {
  const absl::StatusOr<uint64_t> last = database_.GetNumber(
      Family::kMeta, MetaKey(MetaKind::kShardState, record_.uid, shard_), moment_.snapshot());
  if (!last.ok()) Report("last sequence number", std::string(last.status().message()));
  last_ = last.value_or(~uint64_t{0});
  const rocksdb::Slice upper(end);
  const std::unique_ptr<rocksdb::Iterator> vectors(
      database_.db().NewIterator(Options(&upper), database_.family(Family::kVectors)));
  const std::unique_ptr<rocksdb::Iterator> at(
      database_.db().NewIterator(Options(&upper), database_.family(Family::kDocuments)));
  vectors->Seek(prefix);
  for (at->Seek(prefix); at->Valid(); at->Next()) {
    CheckDocument(AsView(at->key()), AsView(at->value()), vectors.get());
    if (!stopped_.ok()) return stopped_;
    if (absl::Status status = Count(at->value().size()); !status.ok()) return status;
  }
  ReportEnd(*at, Family::kDocuments);
  if (at->status().ok() && !SkipVectors("", vectors.get())) return stopped_;
  ReportEnd(*vectors, Family::kVectors);
  return absl::OkStatus();
}

absl::Status ShardCheck::CheckIds(const std::string& prefix, const std::string& end) {
  const rocksdb::Slice upper(end);
  const std::unique_ptr<rocksdb::Iterator> at(
      database_.db().NewIterator(Options(&upper), database_.family(Family::kIds)));
  uint64_t ids = 0;
  for (at->Seek(prefix); at->Valid(); at->Next()) {
    ++ids;
    const std::string_view id = AsView(at->key()).substr(prefix.size());
    const absl::StatusOr<IdEntry> entry = DecodeIdEntry(AsView(at->value()));
    std::string bytes;
    if (!entry.ok()) {
      Report(Quoted(id), std::string(entry.status().message()));
    } else if (Get(Family::kDocuments, SequenceKey(record_.uid, shard_, entry->sequence), &bytes)
                   .IsNotFound()) {
      Report(Quoted(id), absl::StrCat("its version ", entry->sequence, " is not stored"));
    }
    if (absl::Status status = Count(at->value().size() + id.size()); !status.ok()) return status;
  }
  ReportEnd(*at, Family::kIds);
  if (at->status().ok() && ids != documents_) {
    Report("counts", absl::StrCat(documents_, " documents are stored, but ", ids, " ids"));
  }
  return absl::OkStatus();
}

absl::Status ShardCheck::CheckExpiries() {
  const std::string prefix = MetaKey(MetaKind::kExpiry, record_.uid, shard_);
  uint64_t expiries = 0;
  const absl::Status status = database_.Scan(
      Family::kMeta, prefix, PrefixEnd(prefix),
      [&](std::string_view, std::string_view) {
        ++expiries;
        return absl::OkStatus();
      },
      moment_.snapshot());
  if (!status.ok()) {
    Report("order of what expires", std::string(status.message()));
  } else if (expiries > expiring_) {
    Report("order of what expires",
           absl::StrCat(expiries, " entries for ", expiring_, " documents that expire"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LocalStore::CheckFiles(const IntegritySink& sink) const {
  rocksdb::DB& db = database_->db();
  rocksdb::Options options;
  options.env = db.GetEnv();
  std::vector<rocksdb::LiveFileMetaData> files, now;
  LiveTables(&db, &files);
  for (const rocksdb::LiveFileMetaData& file : files) {
    const std::string path = absl::StrCat(file.db_path, file.name);
    rocksdb::SstFileReader reader(options);
    rocksdb::Status status = reader.Open(path);
    if (status.ok()) status = reader.VerifyChecksum();
    // A table that a compaction has replaced meanwhile may be gone.
    if (!status.ok() && LiveTables(&db, &now).contains(file.name)) {
      sink.found({.where = path,
                  .problem = absl::StrCat("the table of column family ", file.column_family_name,
                                          " is damaged: ", status.ToString()),
                  .advice = kRestore});
    }
    if (absl::Status told = sink.progress(0, file.size); !told.ok()) return told;
  }
  // The log is being written, so what looks like damage counts if it is there a second time. What
  // differs from look to look is the write that is under way, or a log that goes.
  absl::Status before;
  for (int look = 0; look < kLooksAtLog; ++look) {
    const absl::Status now = CheckWriteAheadLogs(db.GetName()).status();
    if (now.ok()) break;
    if (now == before) {
      sink.found({.where = "write-ahead log",
                  .problem = std::string(now.message()),
                  .advice = "what it holds is in memory, too: stop the server in good order, which "
                            "writes it to tables, and look at the disk"});
      break;
    }
    before = now;
    if (absl::Status told = sink.progress(0, 0); !told.ok()) return told;
  }
  return absl::OkStatus();
}

absl::Status LocalStore::CheckShard(uint32_t uid, uint32_t shard, const IntegritySink& sink) const {
  const auto find = [&] {
    absl::MutexLock lock(&mutex_);
    return FindSide(uid);
  };
  const auto gone = absl::NotFoundError(absl::StrCat("there is no collection with uid ", uid));
  const std::optional<CollectionRecord> record = find();
  if (!record.has_value() || shard >= record->shard_count) return gone;
  // What is found is told only when nothing was being removed; at every step, since there may be as
  // much of it as there are rows.
  std::vector<IntegrityFinding> findings;
  IntegritySink held = sink;
  held.found = [&](IntegrityFinding finding) { findings.push_back(std::move(finding)); };
  held.progress = [&](uint64_t rows, uint64_t bytes) {
    if (!find().has_value()) return gone;
    for (IntegrityFinding& finding : findings) sink.found(std::move(finding));
    findings.clear();
    return sink.progress(rows, bytes);
  };
  // Its last step is told of, too.
  return ShardCheck(database_.get(), *record, static_cast<uint16_t>(shard), &held).Run();
}

}  // namespace vecino::storage
