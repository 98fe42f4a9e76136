#include "server/engine/aliases.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

std::string Shown(std::string_view id) {
  const std::string_view shown = id.substr(0, 80);  // may be any bytes
  return absl::CHexEscape({shown.data(), shown.size()});
}

absl::Status NoSuchAlias(std::string_view id) {
  return absl::NotFoundError(absl::StrCat(
      "alias `", Shown(id), "` does not exist; create it first or list what there is"));
}

}  // namespace

AliasInfo Aliases::InfoOf(const std::string& id, const Entry& entry) {
  return {.id = id,
          .target = entry.target->id(),
          .create_time = entry.create_time,
          .update_time = entry.update_time};
}

absl::Status Aliases::Load() {
  const auto records = store_.ListAliases();
  if (!records.ok()) return records.status();
  absl::flat_hash_map<uint32_t, std::shared_ptr<Collection>> by_uid;
  for (const auto& collection : registry_.All()) by_uid[collection->uid()] = collection;
  absl::MutexLock lock(&mu_);
  for (const storage::AliasRecord& record : *records) {
    const auto target = by_uid.find(record.uid);
    if (target == by_uid.end()) {
      return absl::DataLossError(
          absl::StrCat("alias `", record.id, "` points to a collection that is not there"));
    }
    entries_[record.id] = {.target = target->second,
                           .create_time = absl::FromUnixMicros(record.create_time_us),
                           .update_time = absl::FromUnixMicros(record.update_time_us)};
    registry_.SetAlias(record.id, target->second);
  }
  return absl::OkStatus();
}

void Aliases::Tell(std::string_view collection, std::string message) {
  spdlog::info("{}", message);
  events_.Publish(Event::Kind::kAliasChanged, std::string(collection), std::move(message));
}

absl::StatusOr<AliasInfo> Aliases::Point(std::string_view id, std::string_view target,
                                         absl::Time create_time) {
  auto found = registry_.FindExact(target);
  if (!found.ok()) {
    if (const auto real = registry_.AliasTarget(target); real.has_value()) {
      return absl::NotFoundError(absl::StrCat("`", Shown(target),
                                              "` is an alias, and an alias points to a "
                                              "collection only; name collection `",
                                              *real, "` itself"));
    }
    return found.status();
  }
  const int64_t now_us = absl::ToUnixMicros(absl::Now());
  const absl::Time now = absl::FromUnixMicros(now_us);
  if (create_time == absl::InfiniteFuture()) create_time = now;
  absl::Status status = store_.PutAlias({.id = std::string(id),
                                         .uid = (*found)->uid(),
                                         .create_time_us = absl::ToUnixMicros(create_time),
                                         .update_time_us = now_us});
  if (!status.ok()) return status;
  Entry entry{.target = *found, .create_time = create_time, .update_time = now};
  AliasInfo info = InfoOf(std::string(id), entry);
  {
    absl::MutexLock lock(&mu_);
    entries_.insert_or_assign(std::string(id), std::move(entry));
  }
  registry_.SetAlias(id, *std::move(found));
  return info;
}

absl::StatusOr<AliasInfo> Aliases::Create(std::string_view id, std::string_view target) {
  if (absl::Status status = CheckCollectionId("alias_id", id); !status.ok()) return status;
  if (Get(id).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("alias `", Shown(id), "` exists already"));
  }
  if (registry_.FindExact(id).ok()) {
    return absl::AlreadyExistsError(
        absl::StrCat("a collection has the id `", Shown(id), "`; an alias needs one of its own"));
  }
  auto info = Point(id, target, absl::InfiniteFuture());
  if (info.ok()) {
    Tell(info->target, absl::StrCat("alias `", info->id, "` was created and points to collection `",
                                    info->target, "`"));
  }
  return info;
}

absl::StatusOr<AliasInfo> Aliases::Update(const AliasUpdate& update) {
  const auto before = Get(update.id);
  if (!before.ok() && !update.allow_missing) return before.status();
  if (!update.expected_target.empty() &&
      (!before.ok() || before->target != update.expected_target)) {
    return absl::AbortedError(absl::StrCat(
        "alias `", Shown(update.id), "` ",
        before.ok() ? absl::StrCat("points to collection `", before->target, "`")
                    : "does not exist",
        ", and not to `", Shown(update.expected_target), "` as expected; read it again"));
  }
  if (!before.ok()) return Create(update.id, update.target);
  auto info = Point(update.id, update.target, before->create_time);
  if (!info.ok()) return info;
  const std::string message = absl::StrCat("alias `", info->id, "` points to collection `",
                                           info->target, "`; before: `", before->target, "`");
  Tell(info->target, message);
  if (info->target != before->target) Tell(before->target, message);
  return info;
}

absl::StatusOr<AliasInfo> Aliases::Get(std::string_view id) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return NoSuchAlias(id);
  return InfoOf(it->first, it->second);
}

std::vector<AliasInfo> Aliases::List() const {
  std::vector<AliasInfo> infos;
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, entry] : entries_) infos.push_back(InfoOf(id, entry));
  return infos;
}

absl::Status Aliases::Delete(std::string_view id) {
  const auto info = Get(id);
  if (!info.ok()) return info.status();
  if (absl::Status status = store_.DeleteAlias(id); !status.ok()) return status;
  registry_.EraseAlias(id);
  {
    absl::MutexLock lock(&mu_);
    entries_.erase(info->id);
  }
  Tell(info->target,
       absl::StrCat("alias `", info->id, "` of collection `", info->target, "` was deleted"));
  return absl::OkStatus();
}

void Aliases::Retarget(const Collection& before, const std::shared_ptr<Collection>& now) {
  absl::MutexLock lock(&mu_);
  for (auto& [id, entry] : entries_) {
    if (entry.target.get() == &before) entry.target = now;
  }
}

absl::Status Aliases::CheckUnused(const Collection& collection) const {
  std::vector<std::string> ids;
  {
    absl::ReaderMutexLock lock(&mu_);
    for (const auto& [id, entry] : entries_) {
      if (entry.target.get() == &collection) ids.push_back(absl::StrCat("`", id, "`"));
    }
  }
  if (ids.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("collection `", collection.id(), "` has ", ids.size(),
                   ids.size() == 1 ? " alias, " : " aliases, ", absl::StrJoin(ids, ", "),
                   "; point them to another collection or delete them first"));
}

}  // namespace vecino::engine
