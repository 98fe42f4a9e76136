#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>
#include <unordered_set>
#include <utility>

#include "client/cli/json_values.h"
#include "client/cli/record_reader.h"

namespace vecino::cli {
namespace {

// Follows quotes through one record, each byte once.
class QuoteState {
 public:
  void Feed(std::string_view piece) {
    for (const char c : piece) {
      switch (state_) {
        case State::kCellStart:
          state_ = c == '"' ? State::kQuoted : c == ',' ? State::kCellStart : State::kPlain;
          break;
        case State::kQuoted:
          if (c == '"') state_ = State::kQuoteInQuoted;
          break;
        case State::kQuoteInQuoted:
          state_ = c == '"' ? State::kQuoted : c == ',' ? State::kCellStart : State::kPlain;
          break;
        case State::kPlain:
          if (c == ',') state_ = State::kCellStart;
          break;
      }
    }
  }
  // A quote is open: the record goes on after the end of this line.
  bool open() const { return state_ == State::kQuoted; }

 private:
  enum class State { kCellStart, kPlain, kQuoted, kQuoteInQuoted };
  State state_ = State::kCellStart;
};

// Splits one whole record into cells; false and *error when it is no CSV.
bool SplitRecord(std::string_view text, std::vector<std::string>* cells, std::string* error) {
  cells->clear();
  size_t i = 0;
  for (;;) {
    std::string& cell = cells->emplace_back();
    if (i < text.size() && text[i] == '"') {
      for (++i; i < text.size(); ++i) {
        if (text[i] != '"') {
          cell.push_back(text[i]);
        } else if (i + 1 < text.size() && text[i + 1] == '"') {
          cell.push_back(text[i++]);
        } else {
          break;
        }
      }
      ++i;  // the closing quote
      if (i < text.size() && text[i] != ',') {
        *error = "column " + std::to_string(cells->size()) + " goes on after its closing quote";
        return false;
      }
    } else {
      const size_t comma = std::min(text.find(',', i), text.size());
      cell.assign(text.substr(i, comma - i));
      i = comma;
    }
    if (i >= text.size()) return true;
    ++i;  // the comma
  }
}

class CsvReader : public RecordReader {
 public:
  CsvReader(std::unique_ptr<Input> input, CsvOptions options)
      : input_(std::move(input)), options_(std::move(options)) {}

  // Reads the header.
  Status Open() {
    std::vector<std::string> cells;
    int64_t line = 0;
    std::string error;
    if (!NextCells(&cells, &line, &error) || !error.empty()) {
      if (!input_->status().ok()) return input_->status();
      return Status(Code::kInvalidArgument, "no CSV header" + (error.empty() ? "" : ": " + error));
    }
    if (cells[0].starts_with("\xEF\xBB\xBF")) cells[0].erase(0, 3);
    std::unordered_set<std::string> seen;
    for (const std::string& name : cells) {
      if (!seen.insert(name).second) {
        return Status(Code::kInvalidArgument, "the CSV header names column '" + name + "' twice");
      }
    }
    if (!seen.contains(options_.id_column)) {
      return Status(Code::kInvalidArgument, "the CSV header has no column '" + options_.id_column +
                                                "'; name another with --id-column");
    }
    // A text column that was asked for must be there; the default may be absent.
    if (!seen.contains(options_.text_column) && options_.text_column != CsvOptions().text_column) {
      return Status(Code::kInvalidArgument,
                    "the CSV header has no column '" + options_.text_column + "'");
    }
    for (const std::string& name : options_.number_columns) {
      if (!seen.contains(name)) {
        return Status(Code::kInvalidArgument, "the CSV header has no column '" + name + "'");
      }
    }
    header_ = std::move(cells);
    return Status();
  }

  bool Next(Record* record) override {
    std::vector<std::string> cells;
    *record = Record();
    if (!NextCells(&cells, &record->line, &record->error)) return false;
    if (record->error.empty()) record->error = ToDocument(cells, &record->document);
    return true;
  }

  Status status() const override { return input_->status(); }

 private:
  struct Line {
    int64_t number = 0;  // from 1
    std::string text;
    bool too_long = false;  // its text is not known
  };

  // The next physical line: one put back, or one read; `quotes` is fed all of it. It is too long
  // when it has more than `limit` bytes. False at the end.
  bool NextLine(size_t limit, Line* line, QuoteState* quotes) {
    if (!put_back_.empty()) {
      *line = std::move(put_back_.front());
      put_back_.pop_front();
      quotes->Feed(line->text);
      line->too_long = line->text.size() > limit;
      return true;
    }
    const Input::Outcome outcome = input_->ReadLine(
        limit, &line->text, [quotes](std::string_view piece) { quotes->Feed(piece); });
    if (outcome == Input::Outcome::kEnd) return false;
    line->too_long = outcome == Input::Outcome::kTooLong;
    line->number = ++lines_read_;
    return true;
  }

  // The next record that is not blank. False at the end; *error when the record is no CSV.
  bool NextCells(std::vector<std::string>* cells, int64_t* first_line, std::string* error) {
    Line line;
    QuoteState quotes;
    do {
      quotes = QuoteState();
      if (!NextLine(kLongestRecord, &line, &quotes)) return false;
    } while (!line.too_long && (line.text.empty() || line.text == "\r"));
    *first_line = line.number;
    std::vector<Line> lines;  // of this record
    size_t room = kLongestRecord;
    for (;;) {
      if (line.too_long || room == 0) {
        lines.clear();
        *error = SkipRest(*first_line, line.number, &quotes);
        return true;
      }
      room -= std::min(room, line.text.size() + 1);
      lines.push_back(std::move(line));
      if (!quotes.open()) break;
      quotes.Feed("\n");
      if (!NextLine(room, &line, &quotes)) {
        *error = "a quoted cell is never closed";
        break;
      }
    }
    if (error->empty()) {
      std::string record;
      record.reserve(kLongestRecord - room);
      for (const Line& part : lines)
        record.append(&part == lines.data() ? "" : "\n").append(part.text);
      if (record.ends_with('\r')) record.pop_back();  // of the CRLF that ends the record
      if (SplitRecord(record, cells, error)) return true;
    }
    // A stray quote must not swallow the lines after it: they are read again, as records of their
    // own.
    put_back_.insert(put_back_.begin(), std::make_move_iterator(lines.begin() + 1),
                     std::make_move_iterator(lines.end()));
    return true;
  }

  // Skips what is left of a record that is too long, in constant memory: what is inside a quoted
  // cell must not be taken for records. Returns what to tell of it.
  std::string SkipRest(int64_t first, int64_t last, QuoteState* quotes) {
    const std::string too_long = "longer than " + Bytes(kLongestRecord);
    Line line;
    while (quotes->open()) {
      quotes->Feed("\n");
      if (!NextLine(0, &line, quotes)) {
        return too_long +
               ", and its quoted cell is never closed: everything from here to the end, "
               "line " +
               std::to_string(last) + ", was left out";
      }
      last = line.number;
    }
    if (last == first) return too_long;
    return too_long + ": it ends in line " + std::to_string(last);
  }

  std::string ToDocument(const std::vector<std::string>& cells, Document* document) const {
    if (cells.size() != header_.size()) {
      return std::to_string(cells.size()) + " columns where the header has " +
             std::to_string(header_.size());
    }
    Json metadata = Json::object();
    std::string error;
    for (size_t c = 0; c < cells.size(); ++c) {
      const std::string& name = header_[c];
      const std::string& cell = cells[c];
      if (name == options_.id_column) {
        document->id = cell;
      } else if (name == options_.text_column) {
        document->text = cell;
      } else if (cell.empty()) {
        continue;
      } else if (name == options_.vector_column) {
        Json json;
        if (!ParseJson(cell, &json, &error)) return "vector: " + error;
        if (!ToVector(json, &document->vector, &error)) return error;
      } else if (std::count(options_.number_columns.begin(), options_.number_columns.end(), name)) {
        double number = 0;
        const auto parsed = std::from_chars(cell.data(), cell.data() + cell.size(), number);
        if (parsed.ec != std::errc() || parsed.ptr != cell.data() + cell.size() ||
            !std::isfinite(number)) {
          return "column '" + name + "' is '" + cell + "', not a number";
        }
        metadata[name] = number;
      } else {
        metadata[name] = cell;
      }
    }
    if (metadata.empty()) return {};
    // Strict: bytes that are not UTF-8 must not be replaced unsaid.
    try {
      document->metadata_json = metadata.dump();
    } catch (const Json::exception&) {
      return "a cell is not valid UTF-8";
    }
    return {};
  }

  const std::unique_ptr<Input> input_;
  const CsvOptions options_;
  std::vector<std::string> header_;
  std::deque<Line> put_back_;  // read already, to be read again
  int64_t lines_read_ = 0;
};

}  // namespace

Result<std::unique_ptr<RecordReader>> NewCsvReader(std::unique_ptr<Input> input,
                                                   const CsvOptions& options) {
  auto reader = std::make_unique<CsvReader>(std::move(input), options);
  if (Status status = reader->Open(); !status.ok()) return status;
  return std::unique_ptr<RecordReader>(std::move(reader));
}

}  // namespace vecino::cli
