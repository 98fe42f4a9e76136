# cmake -DIN=contract.desc -DOUT=contract_file.cc -P contract_file.cmake: a file as the function ContractFile().
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"server/rpc/contract_file.h\"

namespace vecino::rpc {

std::string_view ContractFile() {
  static constexpr unsigned char kBytes[] = {
${bytes}};
  return {reinterpret_cast<const char*>(kBytes), sizeof kBytes};
}

}  // namespace vecino::rpc
")
