package config

// raw is the file after all sources were merged, still as it was typed: text stays text, and what depends on other
// keys is still unset. parse makes a Config of it.
type raw struct {
	Mesh string `mapstructure:"mesh"`
	Node struct {
		Name string `mapstructure:"name"`
	} `mapstructure:"node"`
	Listen struct {
		Address string `mapstructure:"address"`
		Port    int    `mapstructure:"port"`
		AlsoTCP []int  `mapstructure:"also_tcp"`
	} `mapstructure:"listen"`
	Advertise   []string      `mapstructure:"advertise"`
	Peers       []string      `mapstructure:"peers"`
	Proxy       string        `mapstructure:"proxy"`
	SecretFile  string        `mapstructure:"secret_file"`
	WireGuard   string        `mapstructure:"wireguard"`
	Datapath    string        `mapstructure:"datapath"`
	Relay       bool          `mapstructure:"relay"`
	ForgetAfter string        `mapstructure:"forget_after"`
	Networks    *[]rawNetwork `mapstructure:"networks"` // nil: one network called default
	StateDir    string        `mapstructure:"state_dir"`
	RunDir      string        `mapstructure:"run_dir"`
	API         struct {
		Metrics string `mapstructure:"metrics"`
		Group   string `mapstructure:"group"`
	} `mapstructure:"api"`
	Log struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`
}

// rawNetwork is one entry of networks; nil is unset.
type rawNetwork struct {
	Name    string  `mapstructure:"name"`
	VNI     any     `mapstructure:"vni"` // "auto" or an int
	Subnet  *string `mapstructure:"subnet"`
	Address string  `mapstructure:"address"`
	MTU     any     `mapstructure:"mtu"` // "auto" or an int
}
