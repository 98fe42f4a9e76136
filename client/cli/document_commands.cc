// vecino get|delete|count|list
#include <algorithm>
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/format.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/time_values.h"

namespace vecino::cli {
namespace {

constexpr size_t kBatch = 1'000;  // the contract's limit of ids in a call
constexpr int kPage = 1'000;

struct Arguments {
  std::string collection;
  std::vector<std::string> ids;
  bool with_vector = false, with_passages = false;
  int64_t limit = 20;
  std::string filter;
  std::vector<std::string> fields;
  int values = 10;
};

constexpr const char* kFilter =
    "Only documents whose metadata it lets pass, such as \"year >= 2020\"";

void PrintDocument(const Document& document) {
  std::cout << Printable(document.id) << '\n';
  if (!document.text.empty()) std::cout << "  text      " << Printable(document.text) << '\n';
  if (!document.metadata_json.empty()) {
    const Json metadata = Json::parse(document.metadata_json, nullptr, false);
    if (!metadata.empty()) std::cout << "  metadata\n";
    for (const auto& [key, value] : metadata.items()) {
      const std::string text = value.is_string() ? value.get<std::string>() : OneLine(value);
      std::cout << "    " << Printable(key) << ": " << Printable(text) << '\n';
    }
  }
  if (!document.vector.empty())
    std::cout << "  vector    " << OneLine(Json(document.vector)) << '\n';
  for (const Passage& passage : document.passages) {
    std::cout << "  passage   " << passage.index << ": bytes " << passage.start << " to "
              << passage.end << '\n';
  }
  std::cout << "  version   " << document.version << '\n'
            << "  etag      " << document.etag << '\n'
            << "  created   " << Rfc3339(document.create_time) << '\n'
            << "  updated   " << Rfc3339(document.update_time) << '\n';
  if (document.expire_time.has_value()) {
    std::cout << "  expires   " << ExactTime(*document.expire_time) << '\n';
  }
}

int Get(Context& context, const Arguments& arguments) {
  const ReadMask mask{.text = true,
                      .metadata = true,
                      .vector = arguments.with_vector,
                      .passages = arguments.with_passages};
  int code = 0;
  for (size_t begin = 0; begin < arguments.ids.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, arguments.ids.size());
    const std::vector<std::string> ids(arguments.ids.begin() + begin, arguments.ids.begin() + end);
    const auto documents = context.client().GetBatch(arguments.collection, ids, mask);
    if (!documents.ok())
      return context.Fail("get from " + arguments.collection, documents.status());
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::optional<Document>& document = (*documents)[i];
      if (!document) {
        std::cerr << "vecino: " << Printable(ids[i]) << ": NOT_FOUND in "
                  << Printable(arguments.collection) << '\n';
        code = kServerSaidNo;
      } else if (context.json) {
        std::cout << OneLine(StoredDocumentJson(*document)) << '\n';
      } else {
        PrintDocument(*document);
      }
    }
  }
  return code;
}

// Without the id's place in the call, `ids[7]: `: the id itself is told.
Status WithoutPlace(const Status& status) {
  const std::string& message = status.message();
  const size_t end = message.starts_with("ids[") ? message.find("]: ") : std::string::npos;
  return end == std::string::npos ? status : Status(status.code(), message.substr(end + 3));
}

int Delete(Context& context, const Arguments& arguments) {
  int code = 0;
  int64_t deleted = 0;
  for (size_t begin = 0; begin < arguments.ids.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, arguments.ids.size());
    const std::vector<std::string> ids(arguments.ids.begin() + begin, arguments.ids.begin() + end);
    const auto results = context.client().DeleteBatch(arguments.collection, ids);
    if (!results.ok()) return context.Fail("delete from " + arguments.collection, results.status());
    for (size_t i = 0; i < ids.size(); ++i) {
      const Status status = WithoutPlace((*results)[i].status);
      deleted += status.ok() ? 1 : 0;
      if (context.json) {
        Json json{{"id", ids[i]}, {"deleted", status.ok()}};
        if (!status.ok()) json["error"] = status.ToString();
        std::cout << OneLine(json) << '\n';
      }
      if (status.ok()) continue;
      std::cerr << "vecino: delete " << (ids[i].empty() ? "``" : Printable(ids[i])) << ": "
                << Printable(status.ToString()) << '\n';
      code = kServerSaidNo;
    }
  }
  if (!context.json) std::cout << "deleted " << WithCommas(deleted) << '\n';
  return code;
}

int Count(Context& context, const Arguments& arguments) {
  const Result<int64_t> count = context.client().Count(arguments.collection, arguments.filter);
  if (!count.ok()) return context.Fail("count " + arguments.collection, count.status());
  if (context.json) {
    std::cout << OneLine({{"collection", arguments.collection}, {"count", *count}}) << '\n';
  } else {
    std::cout << *count << '\n';
  }
  return 0;
}

int Facets(Context& context, const Arguments& arguments) {
  const auto facets = context.client().CountValues(arguments.collection, arguments.fields,
                                                   arguments.filter, arguments.values);
  if (!facets.ok()) return context.Fail("facet " + arguments.collection, facets.status());
  Table table({{"FIELD"}, {"VALUE"}, {"DOCUMENTS", Table::Align::kRight}});
  for (const Facet& facet : *facets) {
    Json values = Json::array();
    for (const Facet::Value& value : facet.values) {
      const Json json = Json::parse(value.json, nullptr, /*allow_exceptions=*/false);
      values.push_back({{"value", json}, {"count", value.count}});
      table.AddRow({facet.field, json.is_string() ? json.get<std::string>() : value.json,
                    std::to_string(value.count)});
    }
    if (context.json) {
      std::cout << OneLine({{"field", facet.field},
                            {"values", values},
                            {"distinct_values", facet.distinct_values},
                            {"documents", facet.documents}})
                << '\n';
    }
  }
  if (context.json) return 0;
  const bool none = std::all_of(facets->begin(), facets->end(),
                                [](const Facet& facet) { return facet.values.empty(); });
  if (none) {
    std::cerr << "vecino: no document has a value there; fields are those of the metadata\n";
  } else {
    table.Print(std::cout, TableWidth());
  }
  return 0;
}

// Calls `visit` with up to `limit` documents in the server's order, a page at a time.
template <typename Visit>
Status ForEach(Context& context, const Arguments& arguments, const ReadMask& mask, int64_t limit,
               const Visit& visit) {
  std::string page_token;
  int64_t left = limit;
  do {
    const int page_size = static_cast<int>(std::min<int64_t>(kPage, left));
    Result<DocumentPage> page =
        context.client().List(arguments.collection, page_size, page_token, mask, arguments.filter);
    if (!page.ok()) return page.status();
    for (const Document& document : page->documents) visit(document);
    left -= static_cast<int64_t>(page->documents.size());
    page_token = page->next_page_token;
  } while (!page_token.empty() && left > 0 && std::cout);
  return Status();
}

int ListSome(Context& context, const Arguments& arguments) {
  if (arguments.limit < 1) return UsageError("--limit must be at least 1");
  const ReadMask mask{.text = true, .metadata = context.json, .vector = arguments.with_vector};
  Table table({{"ID"}, {"TEXT"}});
  const Status status =
      ForEach(context, arguments, mask, arguments.limit, [&](const Document& document) {
        if (context.json) {
          std::cout << OneLine(StoredDocumentJson(document)) << '\n';
        } else {
          table.AddRow({document.id, document.text});
        }
      });
  table.Print(std::cout, TableWidth());
  return status.ok() ? 0 : context.Fail("list " + arguments.collection, status);
}

// Adds a command on one collection, and with `ids` on documents of it.
CLI::App* AddCommand(CLI::App& app, Context& context, const std::string& name,
                     const std::string& description, std::shared_ptr<Arguments> arguments,
                     int (*run)(Context&, const Arguments&), bool ids) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_option("COLLECTION", arguments->collection)->required();
  if (ids) command->add_option("ID", arguments->ids, "Ids of documents")->required();
  command->callback([&context, arguments, run] {
    context.command = [&context, arguments, run] { return run(context, *arguments); };
  });
  return command;
}

}  // namespace

void AddDocumentCommands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<Arguments>();
  constexpr const char* kWithVector = "Also the vectors";
  CLI::App* get = AddCommand(app, context, "get", "Print documents by id", arguments, Get, true);
  get->add_flag("--with-vector", arguments->with_vector, kWithVector);
  get->add_flag("--with-passages", arguments->with_passages, "Where its passages are in the text");
  AddCommand(app, context, "delete", "Delete documents by id", arguments, Delete, true);
  AddCommand(app, context, "count", "Print how many documents a collection holds", arguments, Count,
             false)
      ->add_option("--filter", arguments->filter, kFilter);
  CLI::App* facet = AddCommand(app, context, "facet", "Count documents by the values of fields",
                               arguments, Facets, false);
  facet->add_option("FIELD", arguments->fields, "Metadata fields, such as lang or author.name")
      ->required();
  facet->add_option("--values,-n", arguments->values, "Most values of each field (default 10)")
      ->check(CLI::Range(1, 1000));
  facet->add_option("--filter", arguments->filter, kFilter);
  CLI::App* list =
      AddCommand(app, context, "list", "Print some documents", arguments, ListSome, false);
  list->add_option("--filter", arguments->filter, kFilter);
  list->add_option("--limit,-n", arguments->limit, "Most documents to print (default 20)");
  list->add_flag("--with-vector", arguments->with_vector, kWithVector);
}

}  // namespace vecino::cli
